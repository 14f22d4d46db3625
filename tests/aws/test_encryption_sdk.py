"""The AWS Encryption SDK for Python, and its command line: envelope encryption as programs that exist do it."""

import json
import os
import subprocess
import sys

import aws_encryption_sdk
import aws_encryption_sdk.exceptions
import botocore.session
from aws_encryption_sdk.identifiers import CommitmentPolicy
from aws_encryption_sdk.key_providers.kms import MRKAwareStrictAwsKmsMasterKeyProvider
from support import ACCOUNT, OTHER_REGION, REGION, Served

CONTEXT = {"tenant": "blue", "purpose": "test"}
TEXT = b"envelope " * 5000


def provider(kind, regional, **more):
    """A provider of master keys whose clients are those of `regional`, by Region."""

    class Here(kind):
        def add_regional_client(self, region_name):
            self._regional_clients[region_name] = regional[region_name]

    return Here(botocore_session=botocore.session.Session(), **more)


class EncryptionSdk(Served):
    def setUp(self):
        self.sdk = aws_encryption_sdk.EncryptionSDKClient(
            commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
        )
        self.regional = {REGION: self.kms, OTHER_REGION: self.abroad()}

    def strict(self, *keys):
        return provider(aws_encryption_sdk.StrictAwsKmsMasterKeyProvider, self.regional, key_ids=list(keys))

    def seal(self, *keys):
        sealed, _ = self.sdk.encrypt(source=TEXT, encryption_context=CONTEXT, key_provider=self.strict(*keys))
        return sealed

    def test_a_round_trip(self):
        key = self.key()
        opened, header = self.sdk.decrypt(source=self.seal(key), key_provider=self.strict(key))
        self.assertEqual(opened, TEXT)
        self.assertLessEqual(CONTEXT.items(), header.encryption_context.items())

    def test_either_of_two_keys_opens(self):
        one, two = self.key(), self.key()
        sealed = self.seal(one, two)
        for key in (one, two):
            self.assertEqual(self.sdk.decrypt(source=sealed, key_provider=self.strict(key))[0], TEXT)

    def test_the_wrong_key_does_not(self):
        sealed = self.seal(self.key())
        with self.assertRaises(aws_encryption_sdk.exceptions.AWSEncryptionSDKClientError):
            self.sdk.decrypt(source=sealed, key_provider=self.strict(self.key()))

    def test_a_changed_context_does_not(self):
        key = self.key()
        sealed = self.seal(key)
        self.assertEqual(sealed.count(b"blue"), 1)
        with self.assertRaises(aws_encryption_sdk.exceptions.AWSEncryptionSDKClientError):
            self.sdk.decrypt(source=sealed.replace(b"blue", b"gray"), key_provider=self.strict(key))

    def test_an_alias_encrypts_and_a_discovery_decrypts(self):
        self.kms.create_alias(AliasName="alias/sdk", TargetKeyId=self.key())
        sealed = self.seal(f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/sdk")
        found = provider(aws_encryption_sdk.DiscoveryAwsKmsMasterKeyProvider, self.regional)
        self.assertEqual(self.sdk.decrypt(source=sealed, key_provider=found)[0], TEXT)

    def test_a_multi_region_key_opens_in_the_other_region(self):
        key = self.key(MultiRegion=True)
        replica = self.kms.replicate_key(KeyId=key, ReplicaRegion=OTHER_REGION)["ReplicaKeyMetadata"]["Arn"]
        here = provider(MRKAwareStrictAwsKmsMasterKeyProvider, self.regional, key_ids=[key])
        there = provider(MRKAwareStrictAwsKmsMasterKeyProvider, self.regional, key_ids=[replica])
        sealed, _ = self.sdk.encrypt(source=TEXT, encryption_context=CONTEXT, key_provider=here)
        self.assertEqual(self.sdk.decrypt(source=sealed, key_provider=there)[0], TEXT)
        # A provider that does not know of related keys finds none of its own.
        with self.assertRaises(aws_encryption_sdk.exceptions.AWSEncryptionSDKClientError):
            self.sdk.decrypt(source=sealed, key_provider=self.strict(replica))

    def test_a_disabled_key_does_not(self):
        key = self.key()
        sealed = self.seal(key)
        self.kms.disable_key(KeyId=key)
        with self.assertRaises(aws_encryption_sdk.exceptions.AWSEncryptionSDKClientError):
            self.sdk.decrypt(source=sealed, key_provider=self.strict(key))


class CommandLine(Served):
    def cli(self, *args, fails=False):
        program = os.path.join(os.path.dirname(sys.executable), "aws-encryption-cli")
        done = subprocess.run([program, *args], env=self.environment(), capture_output=True, text=True)
        self.assertEqual(done.returncode != 0, fails, done.stderr)
        return done.stdout

    def test_files(self):
        key, other = self.key(), self.key()
        plain, sealed, opened = (self.keystore.path(name) for name in ("cli-plain", "cli-sealed", "cli-opened"))
        with open(plain, "wb") as file:
            file.write(TEXT)
        keys = ("--wrapping-keys", f"key={key}")
        self.cli(
            "--encrypt", "--input", plain, "--output", sealed, *keys, "--encryption-context", "tenant=blue",
            "--suppress-metadata",
        )
        decrypt = ("--decrypt", "--input", sealed, "--output", opened, "--no-overwrite")
        metadata = self.cli(*decrypt, *keys, "--encryption-context", "tenant=blue", "--metadata-output", "-")
        self.assertEqual(json.loads(metadata)["header"]["encryption_context"]["tenant"], "blue")
        with open(opened, "rb") as file:
            self.assertEqual(file.read(), TEXT)
        os.remove(opened)
        # What was encrypted for another context is skipped, which this program does not call a failure.
        skipped = self.cli(*decrypt, *keys, "--encryption-context", "tenant=gray", "--metadata-output", "-")
        self.assertTrue(json.loads(skipped)["skipped"])
        self.assertFalse(os.path.exists(opened))
        self.cli(*decrypt, "--wrapping-keys", f"key={other}", "--suppress-metadata", fails=True)
        self.assertFalse(os.path.exists(opened) and os.path.getsize(opened))
