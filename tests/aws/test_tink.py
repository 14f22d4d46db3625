"""Tink with its AWS KMS integration: keysets and envelopes under a key of the server."""

import io

import tink
import tink.aead
from support import ACCOUNT, OTHER_REGION, REGION, Served
from tink.integration import awskms

DATA = b"associated"


class Tink(Served):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        tink.aead.register()

    def remote(self, arn, kms=None):
        uri = f"aws-kms://{arn}"
        return awskms.new_client(boto3_client=kms or self.kms, key_uri=uri).get_aead(uri)

    def test_a_round_trip(self):
        aead = self.remote(self.key())
        sealed = aead.encrypt(b"plain", DATA)
        self.assertEqual(aead.decrypt(sealed, DATA), b"plain")
        self.assertEqual(aead.decrypt(aead.encrypt(b"plain", b""), b""), b"plain")
        for wrong in (b"", b"Associated"):
            with self.assertRaises(tink.TinkError):
                aead.decrypt(sealed, wrong)
        with self.assertRaises(tink.TinkError):
            self.remote(self.key()).decrypt(sealed, DATA)

    def test_an_alias(self):
        self.kms.create_alias(AliasName="alias/tink", TargetKeyId=self.key())
        aead = self.remote(f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/tink")
        self.assertEqual(aead.decrypt(aead.encrypt(b"plain", DATA), DATA), b"plain")

    def test_an_envelope(self):
        remote = self.remote(self.key())
        aead = tink.aead.KmsEnvelopeAead(tink.aead.aead_key_templates.AES256_GCM, remote)
        sealed = aead.encrypt(b"plain" * 10_000, DATA)
        self.assertEqual(aead.decrypt(sealed, DATA), b"plain" * 10_000)
        with self.assertRaises(tink.TinkError):
            aead.decrypt(sealed, b"")

    def test_a_sealed_keyset(self):
        remote = self.remote(self.key())
        keyset = tink.new_keyset_handle(tink.aead.aead_key_templates.AES128_GCM)
        sealed = keyset.primitive(tink.aead.Aead).encrypt(b"plain", DATA)
        text = io.StringIO()
        keyset.write(tink.JsonKeysetWriter(text), remote)
        again = tink.read_keyset_handle(tink.JsonKeysetReader(text.getvalue()), remote)
        self.assertEqual(again.primitive(tink.aead.Aead).decrypt(sealed, DATA), b"plain")
        with self.assertRaises(tink.TinkError):
            tink.read_keyset_handle(tink.JsonKeysetReader(text.getvalue()), self.remote(self.key()))

    def test_a_multi_region_key(self):
        key = self.key(MultiRegion=True)
        replica = self.kms.replicate_key(KeyId=key, ReplicaRegion=OTHER_REGION)["ReplicaKeyMetadata"]["Arn"]
        sealed = self.remote(key).encrypt(b"plain", DATA)
        self.assertEqual(self.remote(replica, self.abroad()).decrypt(sealed, DATA), b"plain")
