"""Round trips with boto3, and errors as the classes that programs catch."""

import datetime
import json

import botocore.exceptions
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from support import ACCOUNT, OTHER_REGION, REGION, Served, client

CONTEXT = {"tenant": "blue", "Purpose": "backup"}


class Keys(Served):
    def test_create_and_describe(self):
        made = self.kms.create_key(Description="for tests", Tags=[{"TagKey": "a", "TagValue": "b"}])["KeyMetadata"]
        found = self.kms.describe_key(KeyId=made["KeyId"])["KeyMetadata"]
        self.assertEqual(made, found)
        self.assertEqual(found["Arn"], f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{found['KeyId']}")
        self.assertEqual(found["AWSAccountId"], ACCOUNT)
        self.assertEqual(found["KeySpec"], found["CustomerMasterKeySpec"])
        self.assertIs(found["Enabled"], True)
        self.assertIs(found["MultiRegion"], False)
        age = datetime.datetime.now(datetime.timezone.utc) - found["CreationDate"]
        self.assertLess(abs(age.total_seconds()), 60)

    def test_states(self):
        key = self.key()
        self.kms.disable_key(KeyId=key)
        with self.assertRaises(self.kms.exceptions.DisabledException) as caught:
            self.kms.encrypt(KeyId=key, Plaintext=b"x")
        self.assertEqual(caught.exception.response["Error"]["Message"], f"{key} is disabled.")
        self.kms.enable_key(KeyId=key)
        due = self.kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
        self.assertEqual((due["KeyId"], due["KeyState"], due["PendingWindowInDays"]), (key, "PendingDeletion", 7))
        with self.assertRaises(self.kms.exceptions.KMSInvalidStateException):
            self.kms.enable_key(KeyId=key)
        self.assertEqual(self.kms.cancel_key_deletion(KeyId=key)["KeyId"], key)
        self.assertEqual(self.kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"], "Disabled")

    def test_aliases(self):
        key, other = self.key(), self.key()
        self.kms.create_alias(AliasName="alias/round/trip", TargetKeyId=key)
        with self.assertRaises(self.kms.exceptions.AlreadyExistsException):
            self.kms.create_alias(AliasName="alias/round/trip", TargetKeyId=other)
        self.assertEqual(self.kms.describe_key(KeyId="alias/round/trip")["KeyMetadata"]["Arn"], key)
        self.kms.update_alias(AliasName="alias/round/trip", TargetKeyId=other)
        [alias] = self.kms.list_aliases(KeyId=other)["Aliases"]
        self.assertEqual(alias["AliasArn"], f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/round/trip")
        self.kms.delete_alias(AliasName="alias/round/trip")
        with self.assertRaises(self.kms.exceptions.NotFoundException):
            self.kms.describe_key(KeyId="alias/round/trip")

    def test_pagination(self):
        keys = {self.key() for _ in range(7)}
        pages = list(self.kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 3}))
        self.assertGreater(len(pages), 2)
        self.assertTrue(all(len(page["Keys"]) <= 3 for page in pages))
        listed = [entry["KeyArn"] for page in pages for entry in page["Keys"]]
        self.assertEqual(len(listed), len(set(listed)))
        self.assertLessEqual(keys, set(listed))
        with self.assertRaises(self.kms.exceptions.InvalidMarkerException):
            self.kms.list_keys(Marker="nothing")

    def test_rotation(self):
        key = self.key()
        old = self.kms.encrypt(KeyId=key, Plaintext=b"before")["CiphertextBlob"]
        self.kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=180)
        status = self.kms.get_key_rotation_status(KeyId=key)
        self.assertTrue(status["KeyRotationEnabled"])
        self.assertEqual(status["RotationPeriodInDays"], 180)
        days = (status["NextRotationDate"] - datetime.datetime.now(datetime.timezone.utc)).days
        self.assertIn(days, (179, 180))
        self.kms.rotate_key_on_demand(KeyId=key)
        [rotation] = self.kms.list_key_rotations(KeyId=key)["Rotations"]
        self.assertEqual(rotation["RotationType"], "ON_DEMAND")
        self.assertEqual(self.kms.decrypt(CiphertextBlob=old)["Plaintext"], b"before")
        self.kms.disable_key_rotation(KeyId=key)
        self.assertFalse(self.kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"])


class Encryption(Served):
    def test_the_context_is_bound(self):
        key = self.key()
        made = self.kms.encrypt(KeyId=key, Plaintext=b"\x00secret\xff", EncryptionContext=CONTEXT)
        turned = dict(reversed(CONTEXT.items()))
        opened = self.kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=turned)
        self.assertEqual((opened["Plaintext"], opened["KeyId"]), (b"\x00secret\xff", key))
        for wrong in ({}, {"tenant": "blue"}, {**CONTEXT, "tenant": "Blue"}, {**CONTEXT, "more": ""}):
            with self.assertRaises(self.kms.exceptions.InvalidCiphertextException) as caught:
                self.kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=wrong)
            self.assertEqual(caught.exception.response["Error"]["Message"], "")

    def test_the_key_is_checked(self):
        key, other = self.key(), self.key()
        blob = self.kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
        self.assertEqual(self.kms.decrypt(CiphertextBlob=blob, KeyId=key)["Plaintext"], b"x")
        with self.assertRaises(self.kms.exceptions.IncorrectKeyException):
            self.kms.decrypt(CiphertextBlob=blob, KeyId=other)
        with self.assertRaises(self.kms.exceptions.NotFoundException):
            self.kms.decrypt(CiphertextBlob=blob, KeyId="alias/nobody")
        flipped = bytes([*blob[:-1], blob[-1] ^ 1])
        with self.assertRaises(self.kms.exceptions.InvalidCiphertextException):
            self.kms.decrypt(CiphertextBlob=flipped)

    def test_data_keys(self):
        key = self.key()
        for request, length in (({"KeySpec": "AES_256"}, 32), ({"KeySpec": "AES_128"}, 16), ({"NumberOfBytes": 57}, 57)):
            made = self.kms.generate_data_key(KeyId=key, EncryptionContext=CONTEXT, **request)
            self.assertEqual(len(made["Plaintext"]), length)
            opened = self.kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=CONTEXT)
            self.assertEqual(opened["Plaintext"], made["Plaintext"])
        wrapped = self.kms.generate_data_key_without_plaintext(KeyId=key, KeySpec="AES_256")
        self.assertNotIn("Plaintext", wrapped)
        self.assertEqual(len(self.kms.decrypt(CiphertextBlob=wrapped["CiphertextBlob"])["Plaintext"]), 32)
        self.assertEqual(len(self.kms.generate_random(NumberOfBytes=1024)["Plaintext"]), 1024)

    def test_re_encrypt(self):
        key, other = self.key(), self.key()
        blob = self.kms.encrypt(KeyId=key, Plaintext=b"moved", EncryptionContext=CONTEXT)["CiphertextBlob"]
        moved = self.kms.re_encrypt(CiphertextBlob=blob, SourceEncryptionContext=CONTEXT, DestinationKeyId=other)
        self.assertEqual((moved["SourceKeyId"], moved["KeyId"]), (key, other))
        self.assertEqual(self.kms.decrypt(CiphertextBlob=moved["CiphertextBlob"])["Plaintext"], b"moved")

    def test_dry_run(self):
        with self.assertRaises(self.kms.exceptions.DryRunOperationException):
            self.kms.encrypt(KeyId=self.key(), Plaintext=b"x", DryRun=True)


class Asymmetric(Served):
    """Checked with the cryptography of Python, which has nothing in common with the server's."""

    def public(self, key):
        return serialization.load_der_public_key(self.kms.get_public_key(KeyId=key)["PublicKey"])

    def test_signatures(self):
        key = self.key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
        request = {"KeyId": key, "Message": b"signed", "SigningAlgorithm": "ECDSA_SHA_256"}
        signature = self.kms.sign(**request)["Signature"]
        self.public(key).verify(signature, b"signed", ec.ECDSA(hashes.SHA256()))
        self.assertIs(self.kms.verify(**request, Signature=signature)["SignatureValid"], True)
        with self.assertRaises(self.kms.exceptions.KMSInvalidSignatureException):
            self.kms.verify(**{**request, "Message": b"other"}, Signature=signature)
        rsa = self.key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")
        made = self.kms.sign(KeyId=rsa, Message=b"signed", SigningAlgorithm="RSASSA_PSS_SHA_256")["Signature"]
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size)
        self.public(rsa).verify(made, b"signed", pss, hashes.SHA256())

    def test_macs(self):
        key = self.key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
        request = {"KeyId": key, "Message": b"message", "MacAlgorithm": "HMAC_SHA_256"}
        mac = self.kms.generate_mac(**request)["Mac"]
        self.assertEqual(len(mac), 32)
        self.assertIs(self.kms.verify_mac(**request, Mac=mac)["MacValid"], True)
        with self.assertRaises(self.kms.exceptions.KMSInvalidMacException):
            self.kms.verify_mac(**request, Mac=mac[::-1])

    def test_encryption_to_a_public_key(self):
        key = self.key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        blob = self.public(key).encrypt(b"from outside", oaep)
        opened = self.kms.decrypt(KeyId=key, CiphertextBlob=blob, EncryptionAlgorithm="RSAES_OAEP_SHA_256")
        self.assertEqual(opened["Plaintext"], b"from outside")

    def test_shared_secrets(self):
        key = self.key(KeySpec="ECC_NIST_P384", KeyUsage="KEY_AGREEMENT")
        own = ec.generate_private_key(ec.SECP384R1())
        info = serialization.PublicFormat.SubjectPublicKeyInfo
        der = own.public_key().public_bytes(serialization.Encoding.DER, info)
        made = self.kms.derive_shared_secret(KeyId=key, KeyAgreementAlgorithm="ECDH", PublicKey=der)
        self.assertEqual(made["SharedSecret"], own.exchange(ec.ECDH(), self.public(key)))

    def test_encapsulation(self):
        key = self.key(KeySpec="ML_KEM_768", KeyUsage="ENCAPSULATE_DECAPSULATE")
        made = self.kms.encapsulate(KeyId=key, EncapsulationAlgorithm="ML_KEM")
        blob = made["SharedSecretCiphertextBlob"]
        request = {"SharedSecretCiphertextBlob": blob, "EncapsulationAlgorithm": "ML_KEM"}
        self.assertEqual(self.kms.decapsulate(KeyId=key, **request)["SharedSecret"], made["SharedSecret"])

    def test_data_key_pairs(self):
        pair = self.kms.generate_data_key_pair(KeyId=self.key(), KeyPairSpec="ECC_NIST_P256", EncryptionContext=CONTEXT)
        private = serialization.load_der_private_key(pair["PrivateKeyPlaintext"], None)
        public = serialization.load_der_public_key(pair["PublicKey"])
        public.verify(private.sign(b"x", ec.ECDSA(hashes.SHA256())), b"x", ec.ECDSA(hashes.SHA256()))
        opened = self.kms.decrypt(CiphertextBlob=pair["PrivateKeyCiphertextBlob"], EncryptionContext=CONTEXT)
        self.assertEqual(opened["Plaintext"], pair["PrivateKeyPlaintext"])


class Regions(Served):
    """One endpoint, several Regions: a request is for the one that it is signed for."""

    def test_regions_are_apart(self):
        key, there = self.key(), self.abroad()
        with self.assertRaises(there.exceptions.NotFoundException) as caught:
            there.describe_key(KeyId=key)
        self.assertEqual(caught.exception.response["Error"]["Message"], f"Invalid arn {REGION}")
        self.assertNotIn(key, [entry["KeyArn"] for entry in there.list_keys()["Keys"]])
        made = there.create_key()["KeyMetadata"]["Arn"]
        self.assertIn(f":{OTHER_REGION}:", made)
        blob = there.encrypt(KeyId=made, Plaintext=b"x")["CiphertextBlob"]
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            self.kms.decrypt(CiphertextBlob=blob)
        self.assertEqual(caught.exception.response["Error"]["Code"], "AccessDeniedException")

    def test_a_region_that_is_not_served(self):
        nowhere = client("kms", self.server.endpoint, self.keystore.admin, region="ap-south-1")
        self.addCleanup(nowhere.close)
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            nowhere.list_keys()
        self.assertEqual(caught.exception.response["Error"]["Code"], "InvalidSignatureException")
        with self.assertRaises(self.kms.exceptions.UnsupportedOperationException):
            self.kms.replicate_key(KeyId=self.key(MultiRegion=True), ReplicaRegion="ap-south-1")

    def test_a_multi_region_key(self):
        made, there = self.kms.create_key(MultiRegion=True)["KeyMetadata"], self.abroad()
        key = made["KeyId"]
        self.assertTrue(key.startswith("mrk-"))
        self.assertEqual(made["MultiRegionConfiguration"]["ReplicaKeys"], [])
        tags = [{"TagKey": "a", "TagValue": "b"}]
        replica = self.kms.replicate_key(KeyId=key, ReplicaRegion=OTHER_REGION, Description="d", Tags=tags)
        self.assertEqual(replica["ReplicaTags"], tags)
        self.assertEqual(replica["ReplicaKeyMetadata"], there.describe_key(KeyId=key)["KeyMetadata"])
        with self.assertRaises(self.kms.exceptions.AlreadyExistsException):
            self.kms.replicate_key(KeyId=key, ReplicaRegion=OTHER_REGION)
        blob = self.kms.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=CONTEXT)["CiphertextBlob"]
        opened = there.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT, KeyId=key)
        self.assertEqual((opened["Plaintext"], opened["KeyId"]), (b"x", replica["ReplicaKeyMetadata"]["Arn"]))
        moved = there.re_encrypt(
            CiphertextBlob=blob,
            SourceEncryptionContext=CONTEXT,
            DestinationKeyId=there.create_key()["KeyMetadata"]["Arn"],
        )
        self.assertEqual(there.decrypt(CiphertextBlob=moved["CiphertextBlob"])["Plaintext"], b"x")
        self.kms.update_primary_region(KeyId=key, PrimaryRegion=OTHER_REGION)
        with self.assertRaises(self.kms.exceptions.UnsupportedOperationException):
            self.kms.rotate_key_on_demand(KeyId=key)
        there.rotate_key_on_demand(KeyId=key)
        self.assertEqual(len(self.kms.list_key_rotations(KeyId=key)["Rotations"]), 1)
        due = there.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
        self.assertEqual((due["KeyState"], due.get("DeletionDate")), ("PendingReplicaDeletion", None))
        found = there.describe_key(KeyId=key)["KeyMetadata"]
        self.assertEqual((found["KeyState"], found["PendingDeletionWindowInDays"]), ("PendingReplicaDeletion", 7))

    def test_the_last_use(self):
        key = self.key()
        found = self.kms.get_key_last_usage(KeyId=key)
        self.assertEqual((found["KeyId"], found["KeyLastUsage"]), (key, {}))
        self.assertGreaterEqual(found["TrackingStartDate"], found["KeyCreationDate"])
        self.kms.generate_data_key(KeyId=key, KeySpec="AES_256")
        usage = self.kms.get_key_last_usage(KeyId=key)["KeyLastUsage"]
        self.assertEqual(usage["Operation"], "GenerateDataKey")
        age = datetime.datetime.now(datetime.timezone.utc) - usage["Timestamp"]
        self.assertLess(abs(age.total_seconds()), 60)


class Import(Served):
    def bring(self, key, material, **more):
        parameters = self.kms.get_parameters_for_import(
            KeyId=key, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_3072"
        )
        public = serialization.load_der_public_key(parameters["PublicKey"])
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        return self.kms.import_key_material(
            KeyId=key,
            ImportToken=parameters["ImportToken"],
            EncryptedKeyMaterial=public.encrypt(material, oaep),
            **more,
        )

    def test_material_goes_and_comes_back(self):
        key = self.key(Origin="EXTERNAL")
        with self.assertRaises(self.kms.exceptions.KMSInvalidStateException):
            self.kms.encrypt(KeyId=key, Plaintext=b"x")
        until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=30)
        self.bring(key, b"m" * 32, ValidTo=until, ExpirationModel="KEY_MATERIAL_EXPIRES")
        found = self.kms.describe_key(KeyId=key)["KeyMetadata"]
        self.assertEqual(found["ExpirationModel"], "KEY_MATERIAL_EXPIRES")
        self.assertLess(abs((found["ValidTo"] - until).total_seconds()), 1)
        blob = self.kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
        self.kms.delete_imported_key_material(KeyId=key)
        with self.assertRaises(self.kms.exceptions.KMSInvalidStateException):
            self.kms.decrypt(CiphertextBlob=blob)
        with self.assertRaises(self.kms.exceptions.IncorrectKeyMaterialException):
            self.bring(key, b"n" * 32, ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE")
        self.bring(key, b"m" * 32, ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE")
        self.assertEqual(self.kms.decrypt(CiphertextBlob=blob)["Plaintext"], b"x")


class Callers(Served):
    def test_identity(self):
        sts = client("sts", self.server.endpoint, self.keystore.admin)
        self.addCleanup(sts.close)
        found = sts.get_caller_identity()
        self.assertEqual((found["Account"], found["Arn"]), (ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/admin"))

    def refused(self, key, **more):
        kms = client("kms", self.server.endpoint, {**self.keystore.admin, **key}, **more)
        self.addCleanup(kms.close)
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            kms.list_keys()
        return caught.exception.response["Error"]["Code"]

    def test_strangers(self):
        self.assertEqual(self.refused({"AccessKeyId": "AKIAAAAAAAAAAAAAAAAA"}), "UnrecognizedClientException")
        self.assertEqual(self.refused({"SecretAccessKey": "x" * 40}), "InvalidSignatureException")
        self.assertEqual(self.refused({}, aws_session_token="token"), "UnrecognizedClientException")


class Authorization(Served):
    def put_policy(self, user, statement):
        path = self.keystore.path(f"{user}.json")
        with open(path, "w", encoding="ascii") as file:
            json.dump({"Version": "2012-10-17", "Statement": [statement]}, file)
        self.keystore.run("kms", "user", "put-policy", user, "--policy-name", "p", "--policy-file", path)

    def refused(self, call, **request):
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            call(**request)
        self.assertEqual(caught.exception.response["Error"]["Code"], "AccessDeniedException")

    def test_a_user_may_do_what_its_policies_allow(self):
        key, other = self.key(), self.key()
        alice = self.as_user("alice")
        self.refused(alice.encrypt, KeyId=key, Plaintext=b"x")
        self.put_policy("alice", {"Effect": "Allow", "Action": "kms:Encrypt", "Resource": key})
        blob = alice.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
        self.refused(alice.encrypt, KeyId=other, Plaintext=b"x")
        self.refused(alice.decrypt, CiphertextBlob=blob)
        self.keystore.run("kms", "user", "delete-policy", "alice", "--policy-name", "p")
        self.refused(alice.encrypt, KeyId=key, Plaintext=b"x")

    def test_a_key_policy_decides(self):
        key = self.key()
        bob = self.as_user("bob")
        policy = json.loads(self.kms.get_key_policy(KeyId=key)["Policy"])
        arn = f"arn:aws:iam::{ACCOUNT}:user/bob"
        address = {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}
        statement = {"Effect": "Allow", "Principal": {"AWS": arn}, "Action": "kms:GenerateDataKey*", "Resource": "*"}
        policy["Statement"].append({**statement, "Condition": address})
        self.kms.put_key_policy(KeyId=key, Policy=json.dumps(policy))
        self.assertEqual(len(bob.generate_data_key(KeyId=key, KeySpec="AES_256")["Plaintext"]), 32)
        self.refused(bob.encrypt, KeyId=key, Plaintext=b"x")
        self.assertEqual(self.kms.list_key_policies(KeyId=key)["PolicyNames"], ["default"])
        with self.assertRaises(self.kms.exceptions.MalformedPolicyDocumentException):
            self.kms.put_key_policy(KeyId=key, Policy="{}")

    def test_grants(self):
        key = self.key()
        carol = self.as_user("carol")
        arn = f"arn:aws:iam::{ACCOUNT}:user/carol"
        constraints = {"EncryptionContextSubset": {"tenant": "blue"}}
        operations = ["Encrypt", "Decrypt", "RetireGrant"]
        grant = {"KeyId": key, "GranteePrincipal": arn, "Operations": operations, "Constraints": constraints}
        made = self.kms.create_grant(**grant, Name="named")
        self.assertEqual(self.kms.create_grant(**grant, Name="named")["GrantId"], made["GrantId"])
        blob = carol.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=CONTEXT)["CiphertextBlob"]
        self.assertEqual(carol.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)["Plaintext"], b"x")
        self.refused(carol.encrypt, KeyId=key, Plaintext=b"x")
        [listed] = self.kms.list_grants(KeyId=key)["Grants"]
        self.assertEqual((listed["GrantId"], listed["Name"], listed["KeyId"]), (made["GrantId"], "named", key))
        self.assertEqual((listed["GranteePrincipal"], listed["Constraints"]), (arn, constraints))
        self.assertEqual(sorted(listed["Operations"]), sorted(operations))
        self.kms.revoke_grant(KeyId=key, GrantId=made["GrantId"])
        self.refused(carol.encrypt, KeyId=key, Plaintext=b"x", EncryptionContext=CONTEXT)
        self.assertEqual(self.kms.list_grants(KeyId=key)["Grants"], [])

    def test_tags(self):
        key = self.key(Tags=[{"TagKey": "a", "TagValue": "1"}])
        self.kms.tag_resource(KeyId=key, Tags=[{"TagKey": "b", "TagValue": "2"}, {"TagKey": "a", "TagValue": "3"}])
        tags = self.kms.list_resource_tags(KeyId=key)["Tags"]
        self.assertEqual(tags, [{"TagKey": "a", "TagValue": "3"}, {"TagKey": "b", "TagValue": "2"}])
        self.kms.untag_resource(KeyId=key, TagKeys=["a"])
        self.assertEqual(len(self.kms.list_resource_tags(KeyId=key)["Tags"]), 1)
        with self.assertRaises(self.kms.exceptions.TagException):
            self.kms.tag_resource(KeyId=key, Tags=[{"TagKey": "aws:x", "TagValue": ""}])
