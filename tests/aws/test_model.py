"""Every constraint of the API model, broken once: 400 with the right type, and never a failure of the server.

The model is the one of the installed botocore, so a new version of it is a new test.
"""

import base64
import http.client
import json
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.session
from support import REGION, Served

# Errors of every operation, which the model does not list.
COMMON = {"ValidationException", "SerializationException", "AccessDeniedException", "UnsupportedOperationException"}

# Values of shapes whose patterns want more than letters.
PLAIN = {
    "ServicePrincipalType": "a.b.c",
    "CloudHsmClusterIdType": "cluster-" + "a" * 11,
    "XksProxyUriEndpointType": "https://a.b",
    "XksProxyUriPathType": "/kms/xks/v1",
    "XksProxyVpcEndpointServiceNameType": "com.amazonaws.vpce.us-east-1.vpce-svc-a",
    "AccountIdType": "1" * 12,
    "RegionType": "eu-west-1",
    "XksProxyAuthenticationAccessKeyIdType": "A" * 20,
}


def lower(name):
    """A member as messages spell it."""
    return name[0].lower() + name[1:]


def plain(shape):
    """A value that breaks no constraint of its own, as JSON."""
    kind, meta = shape.type_name, shape.metadata
    if kind == "string":
        if shape.enum:
            return shape.enum[0]
        if shape.name in PLAIN:
            return PLAIN[shape.name]
        return "a" * max(meta.get("min", 1), 1)
    if kind == "blob":
        return base64.b64encode(b"a" * max(meta.get("min", 1), 1)).decode()
    if kind == "integer":
        return meta.get("min", 1)
    if kind == "list":
        return [plain(shape.member)] * max(meta.get("min", 1), 1)
    if kind == "map":
        return {"a": "b"}
    if kind == "structure":
        return {name: plain(member) for name, member in shape.members.items() if name in shape.required_members}
    return {"boolean": True, "timestamp": 2_000_000_000.5}[kind]


def mistyped(shape):
    """A value of another type."""
    return {"a": 1} if shape.type_name in ("string", "blob", "integer", "boolean", "timestamp", "list") else [1]


def broken(shape):
    """Values that break one constraint each."""
    kind, meta = shape.type_name, shape.metadata
    low, high = meta.get("min"), meta.get("max")
    if kind == "string" and shape.enum:
        yield "NO_SUCH_NAME"
    elif kind == "string":
        if low:
            yield "a" * (low - 1)
        if high:
            yield "a" * (high + 1)
        if "pattern" in meta:
            yield "\u2603" * max(low or 1, 1)
    elif kind == "blob":
        for length in ([low - 1] if low else []) + ([high + 1] if high else []):
            yield base64.b64encode(b"a" * length).decode()
    elif kind == "integer":
        yield from ([low - 1] if low is not None else []) + ([high + 1] if high else [])
    elif kind == "list":
        for length in ([low - 1] if low else []) + ([high + 1] if high else []):
            yield [plain(shape.member)] * length
        for value in broken(shape.member):
            yield [value]
    elif kind == "structure":
        whole = plain(shape)
        for name in shape.required_members:
            yield {other: value for other, value in whole.items() if other != name}
        for name, member in shape.members.items():
            for value in broken(member):
                yield {**whole, name: value}


class Constraints(Served):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = botocore.session.get_session().get_service_model("kms")
        admin = cls.keystore.admin
        credentials = botocore.credentials.Credentials(admin["AccessKeyId"], admin["SecretAccessKey"])
        cls.auth = botocore.auth.SigV4Auth(credentials, "kms", REGION)
        cls.connection = http.client.HTTPConnection(urllib.parse.urlsplit(cls.server.endpoint).netloc)
        cls.addClassCleanup(cls.connection.close)
        cls.known = [name for name in cls.model.operation_names if cls.call(name, {})[1] != "UnknownOperationException"]

    @classmethod
    def call(cls, operation, request):
        """Returns status, type and message, whatever the request is."""
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"TrentService.{operation}"}
        body = json.dumps(request)
        signed = botocore.awsrequest.AWSRequest("POST", cls.server.endpoint + "/", headers=headers, data=body)
        cls.auth.add_auth(signed)
        cls.connection.request("POST", "/", body=body, headers=dict(signed.headers))
        answer = cls.connection.getresponse()
        text = answer.read()
        document = json.loads(text) if text else {}
        return answer.status, document.get("__type"), document.get("message")

    def base(self, operation):
        shape = self.model.operation_model(operation).input_shape
        return shape, plain(shape)

    def refused(self, operation, request, code, member=None):
        with self.subTest(operation=operation, request=str(request)[:200]):
            status, found, message = self.call(operation, request)
            self.assertEqual((status, found), (400, code), message)
            if member is not None:
                self.assertIn(f"'{lower(member)}", message)

    def test_enough_is_known(self):
        missing = sorted(set(self.model.operation_names) - set(self.known))
        print(f"{len(self.known)} operations served, {len(missing)} not: {', '.join(missing)}")
        self.assertEqual(missing, [])

    def test_required_members(self):
        for operation in self.known:
            shape, request = self.base(operation)
            for name in shape.required_members:
                without = {other: value for other, value in request.items() if other != name}
                self.refused(operation, without, "ValidationException", name)
                self.refused(operation, {**request, name: None}, "ValidationException", name)

    def test_types(self):
        for operation in self.known:
            shape, request = self.base(operation)
            for name, member in shape.members.items():
                self.refused(operation, {**request, name: mistyped(member)}, "SerializationException")
                if member.type_name == "blob":
                    self.refused(operation, {**request, name: "no base64!"}, "SerializationException")

    def test_constraints(self):
        count = 0
        for operation in self.known:
            shape, request = self.base(operation)
            for name, member in shape.members.items():
                for value in broken(member):
                    count += 1
                    self.refused(operation, {**request, name: value}, "ValidationException", name)
        self.assertGreater(count, 100)

    def test_what_breaks_nothing_is_understood(self):
        for operation in self.known:
            shape, request = self.base(operation)
            errors = {error.name for error in self.model.operation_model(operation).error_shapes}
            for name, member in [(None, None), *shape.members.items()]:
                whole = request if name is None else {**request, name: plain(member)}
                with self.subTest(operation=operation, request=str(whole)[:200]):
                    status, code, message = self.call(operation, whole)
                    self.assertIn(status, (200, 400), message)
                    self.assertIn(code, {None, *COMMON, *errors}, message)
                    # The service may ask for more than the model does, but not for another value of this member.
                    self.assertNotIn(f"at '{lower(name or '?')}'", message or "")
