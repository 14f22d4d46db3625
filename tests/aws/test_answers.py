"""Every operation of the API model, carried out once: its answer has the members of the model and no others."""

import base64
import json
import math

import botocore.session
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from support import ACCOUNT, OTHER_REGION, Proxy, Served

CONTEXT = {"tenant": "blue"}
MODEL = botocore.session.get_session().get_service_model("kms")
KEY_SPECS = MODEL.shape_for("KeySpec").enum


def faults(shape, value, place):
    """What of a JSON value the model does not have. A parser would pass over most of it in silence."""
    kind = shape.type_name
    if kind == "structure":
        if not isinstance(value, dict):
            return [f"{place} is no structure"]
        found = [f"{place}.{name} is not in the model" for name in value if name not in shape.members]
        found += [f"{place}.{name} is missing" for name in shape.required_members if name not in value]
        for name, member in shape.members.items():
            if name in value:
                found += faults(member, value[name], f"{place}.{name}")
        return found
    if kind == "list":
        if not isinstance(value, list):
            return [f"{place} is no list"]
        return [fault for number, item in enumerate(value) for fault in faults(shape.member, item, f"{place}[{number}]")]
    if kind == "map":
        texts = isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
        return [] if texts else [f"{place} is no map of texts"]
    return [] if is_scalar(shape, value) else [f"{place} is no {kind}: {value!r}"]


def is_scalar(shape, value):
    kind = shape.type_name
    if kind == "string":
        # A deprecated member has the value of KeySpec, of which its own list has the older ones.
        known = KEY_SPECS if shape.name == "CustomerMasterKeySpec" else shape.enum
        return isinstance(value, str) and (not known or value in known)
    if kind == "blob":
        return isinstance(value, str) and base64.b64encode(base64.b64decode(value, validate=True)).decode() == value
    if kind == "timestamp":
        return type(value) in (int, float) and math.isfinite(value) and value > 0
    return type(value) is {"boolean": bool, "integer": int}[kind]


class Answers(Served):
    """A client whose every answer is compared with the model."""

    def setUp(self):
        self.seen, self.faults = set(), []
        self.watch(self.kms)

    def watch(self, client):
        client.meta.events.register("after-call.kms", self.check)

    def check(self, http_response, model, **_):
        if http_response.status_code != 200:
            return
        self.seen.add(model.name)
        if model.output_shape is None or not model.output_shape.members:
            self.faults += [f"{model.name} has an answer"] if http_response.content not in (b"", b"{}") else []
        else:
            self.faults += faults(model.output_shape, json.loads(http_response.content), model.name)

    def test_every_operation(self):
        parts = [self.keys, self.aliases, self.encryption, self.asymmetric, self.rotation, self.material, self.grants]
        for part in [*parts, self.policies, self.regions, self.key_stores]:
            part()
        self.assertEqual(self.faults, [])
        self.assertEqual(sorted(set(MODEL.operation_names) - self.seen), [], "were not carried out")

    def keys(self):
        key = self.key(Description="d", Tags=[{"TagKey": "a", "TagValue": "b"}])
        self.kms.describe_key(KeyId=key)
        self.kms.list_keys(Limit=1)
        self.kms.update_key_description(KeyId=key, Description="e")
        self.kms.disable_key(KeyId=key)
        self.kms.enable_key(KeyId=key)
        self.kms.tag_resource(KeyId=key, Tags=[{"TagKey": "c", "TagValue": ""}])
        self.kms.list_resource_tags(KeyId=key, Limit=1)
        self.kms.untag_resource(KeyId=key, TagKeys=["a"])
        self.kms.schedule_key_deletion(KeyId=key)
        self.kms.describe_key(KeyId=key)
        self.kms.cancel_key_deletion(KeyId=key)

    def aliases(self):
        self.kms.create_alias(AliasName="alias/a", TargetKeyId=self.key())
        self.kms.update_alias(AliasName="alias/a", TargetKeyId=self.key())
        self.kms.list_aliases(Limit=1)
        self.kms.delete_alias(AliasName="alias/a")

    def encryption(self):
        key, bound = self.key(), {"EncryptionContext": CONTEXT}
        blob = self.kms.encrypt(KeyId=key, Plaintext=b"x", **bound)["CiphertextBlob"]
        self.kms.decrypt(CiphertextBlob=blob, **bound)
        self.kms.re_encrypt(CiphertextBlob=blob, SourceEncryptionContext=CONTEXT, DestinationKeyId=self.key())
        self.kms.generate_data_key(KeyId=key, KeySpec="AES_256", **bound)
        self.kms.generate_data_key_without_plaintext(KeyId=key, NumberOfBytes=8)
        self.kms.generate_data_key_pair(KeyId=key, KeyPairSpec="ECC_NIST_P256")
        self.kms.generate_data_key_pair_without_plaintext(KeyId=key, KeyPairSpec="ECC_NIST_P256")
        self.kms.generate_random(NumberOfBytes=8)
        self.kms.get_key_last_usage(KeyId=key)

    def asymmetric(self):
        key = self.key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
        request = {"KeyId": key, "Message": b"m", "SigningAlgorithm": "ECDSA_SHA_256"}
        self.kms.verify(**request, Signature=self.kms.sign(**request)["Signature"])
        self.kms.get_public_key(KeyId=key)
        request = {"KeyId": self.key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC"), "Message": b"m"}
        request["MacAlgorithm"] = "HMAC_SHA_256"
        self.kms.verify_mac(**request, Mac=self.kms.generate_mac(**request)["Mac"])
        key = self.key(KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")
        form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        own = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(*form)
        self.kms.derive_shared_secret(KeyId=key, KeyAgreementAlgorithm="ECDH", PublicKey=own)
        request = {"KeyId": self.key(KeySpec="ML_KEM_768", KeyUsage="ENCAPSULATE_DECAPSULATE")}
        request["EncapsulationAlgorithm"] = "ML_KEM"
        blob = self.kms.encapsulate(**request)["SharedSecretCiphertextBlob"]
        self.kms.decapsulate(**request, SharedSecretCiphertextBlob=blob)
        for spec, usage in (("RSA_2048", "ENCRYPT_DECRYPT"), ("ML_DSA_44", "SIGN_VERIFY")):
            self.kms.get_public_key(KeyId=self.key(KeySpec=spec, KeyUsage=usage))

    def rotation(self):
        key = self.key()
        self.kms.enable_key_rotation(KeyId=key)
        self.kms.rotate_key_on_demand(KeyId=key)
        self.kms.get_key_rotation_status(KeyId=key)
        self.kms.list_key_rotations(KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL")
        self.kms.disable_key_rotation(KeyId=key)

    def material(self):
        key = self.key(Origin="EXTERNAL")
        wrapping = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
        given = self.kms.get_parameters_for_import(KeyId=key, **wrapping)
        public = serialization.load_der_public_key(given["PublicKey"])
        wrapped = public.encrypt(b"m" * 32, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))
        self.kms.import_key_material(
            KeyId=key,
            ImportToken=given["ImportToken"],
            EncryptedKeyMaterial=wrapped,
            ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
        )
        self.kms.describe_key(KeyId=key)
        self.kms.delete_imported_key_material(KeyId=key)

    def grants(self):
        key, user = self.key(), f"arn:aws:iam::{ACCOUNT}:user/dora"
        constraints = {"EncryptionContextEquals": CONTEXT}
        request = {"KeyId": key, "GranteePrincipal": user, "RetiringPrincipal": user, "Operations": ["Decrypt"]}
        made = [self.kms.create_grant(**request, Name=name, Constraints=constraints) for name in ("a", "b")]
        self.kms.list_grants(KeyId=key, Limit=1)
        self.kms.list_retirable_grants(RetiringPrincipal=user)
        self.kms.revoke_grant(KeyId=key, GrantId=made[0]["GrantId"])
        dora = self.as_user("dora")
        self.watch(dora)
        dora.retire_grant(GrantToken=made[1]["GrantToken"])

    def policies(self):
        key = self.key()
        policy = self.kms.get_key_policy(KeyId=key)["Policy"]
        self.kms.put_key_policy(KeyId=key, Policy=policy)
        self.kms.list_key_policies(KeyId=key)

    def regions(self):
        key, there = self.key(MultiRegion=True), self.abroad()
        self.watch(there)
        self.kms.replicate_key(KeyId=key, ReplicaRegion=OTHER_REGION, Tags=[{"TagKey": "a", "TagValue": "b"}])
        self.kms.update_primary_region(KeyId=key, PrimaryRegion=OTHER_REGION)
        there.describe_key(KeyId=key.split("/")[1])
        there.schedule_key_deletion(KeyId=key.split("/")[1])

    def key_stores(self):
        proxy = Proxy()
        self.addCleanup(proxy.close)
        request = {
            "CustomKeyStoreName": "outside",
            "CustomKeyStoreType": "EXTERNAL_KEY_STORE",
            "XksProxyUriEndpoint": "https://localhost",
            "XksProxyUriPath": "/kms/xks/v1",
            "XksProxyConnectivity": "PUBLIC_ENDPOINT",
            "XksProxyAuthenticationCredential": proxy.credential,
            "TrustAnchorCertificate": proxy.certificate,
        }
        self.kms.delete_custom_key_store(CustomKeyStoreId=self.kms.create_custom_key_store(**request)["CustomKeyStoreId"])
        store = {"CustomKeyStoreId": self.kms.create_custom_key_store(**request)["CustomKeyStoreId"]}
        self.kms.describe_custom_key_stores(**store)
        self.kms.update_custom_key_store(**store, NewCustomKeyStoreName="beyond")
        self.kms.connect_custom_key_store(**store)
        [found] = self.kms.describe_custom_key_stores()["CustomKeyStores"]
        self.assertEqual((found["ConnectionState"], found["CustomKeyStoreName"]), ("CONNECTED", "beyond"))
        key = self.key(Origin="EXTERNAL_KEY_STORE", XksKeyId=proxy.key, **store)
        blob = self.kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
        self.assertEqual(self.kms.decrypt(CiphertextBlob=blob)["Plaintext"], b"x")
        self.kms.disconnect_custom_key_store(**store)
        self.assertEqual(self.kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"], "Unavailable")
