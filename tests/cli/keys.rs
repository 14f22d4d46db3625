//! `kmsfs key`: the words and shapes of the AWS command line.

use serde_json::Value;

use crate::program::{Place, Ran};

/// A place with a keystore.
fn place() -> Place {
    Place::with_volume()
}

fn key<const LEN: usize>(place: &Place, args: [&str; LEN]) -> Ran {
    place.kmsfs().arg("key").args(args).output().unwrap().into()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a text")).to_owned()
}

fn create(place: &Place) -> String {
    let made = key(place, ["create-key", "--description", "a key"]).json();
    text(&made["KeyMetadata"]["KeyId"])
}

#[test]
fn keys_are_created_described_and_listed() {
    let place = place();
    let made = key(&place, ["create-key", "--description", "a key", "--key-usage", "ENCRYPT_DECRYPT"]).json();
    let metadata = &made["KeyMetadata"];
    assert_eq!(metadata["Enabled"], true);
    assert_eq!(metadata["KeySpec"], "SYMMETRIC_DEFAULT");
    assert_eq!(metadata["CustomerMasterKeySpec"], "SYMMETRIC_DEFAULT");
    assert_eq!(metadata["EncryptionAlgorithms"], serde_json::json!(["SYMMETRIC_DEFAULT"]));
    assert!(text(&metadata["CreationDate"]).ends_with("+00:00"));
    let (id, arn) = (text(&metadata["KeyId"]), text(&metadata["Arn"]));
    assert_eq!(key(&place, ["describe-key", "--key-id", &arn]).json(), made);
    key(&place, ["update-key-description", "--key-id", &id, "--description", "other"]).ok();
    assert_eq!(key(&place, ["describe-key", "--key-id", &id]).json()["KeyMetadata"]["Description"], "other");
    let all = key(&place, ["list-keys"]).json();
    assert_eq!(all["Keys"].as_array().unwrap().len(), 2);
    assert!(all.get("NextMarker").is_none());
    let page = key(&place, ["list-keys", "--limit", "1"]).json();
    assert_eq!(page["Truncated"], true);
    let marker = text(&page["NextMarker"]);
    let rest = key(&place, ["list-keys", "--limit", "1", "--marker", &marker]).json();
    assert_eq!((rest["Keys"].as_array().unwrap().len(), &rest["Truncated"]), (1, &Value::Bool(false)));
}

#[test]
fn refusals_are_worded_as_by_aws() {
    let place = place();
    let id = create(&place);
    let none = "11111111-2222-3333-4444-555555555555";
    let ran = key(&place, ["describe-key", "--key-id", none]);
    assert_eq!(ran.code, 10);
    assert_eq!(
        ran.err.trim_end(),
        format!(
            "kmsfs: An error occurred (NotFoundException) when calling the DescribeKey operation: Key \
             'arn:aws:kms:local-1:000000000000:key/{none}' does not exist"
        )
    );
    key(&place, ["disable-key", "--key-id", &id]).ok();
    let ran = key(&place, ["encrypt", "--key-id", &id, "--plaintext", "aGk="]);
    assert_eq!(ran.code, 10);
    assert!(ran.err.contains("(DisabledException)") && ran.err.contains("is disabled."), "{ran:?}");
    key(&place, ["enable-key", "--key-id", &id]).ok();
    let ran = key(&place, ["create-key", "--origin", "NOWHERE"]);
    assert!(ran.err.contains("(ValidationException) when calling the CreateKey operation"), "{ran:?}");
    assert_eq!(key(&place, ["encrypt", "--key-id", &id, "--plaintext", "no base64!"]).code, 2);
}

#[test]
fn related_keys_are_used_in_their_regions() {
    let place = place();
    let made = key(&place, ["create-key", "--multi-region"]).json();
    let id = text(&made["KeyMetadata"]["KeyId"]);
    assert_eq!(made["KeyMetadata"]["MultiRegionConfiguration"]["MultiRegionKeyType"], "PRIMARY");
    let to_eu =
        ["replicate-key", "--key-id", &id, "--replica-region", "eu-west-1", "--tags", "TagKey=a,TagValue=b"];
    let replica = key(&place, to_eu).json();
    let arn = format!("arn:aws:kms:eu-west-1:000000000000:key/{id}");
    assert_eq!(replica["ReplicaKeyMetadata"]["Arn"], arn.as_str());
    assert_eq!(replica["ReplicaTags"], serde_json::json!([{ "TagKey": "a", "TagValue": "b" }]));
    let sealed = key(&place, ["encrypt", "--key-id", &id, "--plaintext", "aGVsbG8="]).json();
    let blob = text(&sealed["CiphertextBlob"]);
    let opened = key(&place, ["--region", "eu-west-1", "decrypt", "--ciphertext-blob", &blob]).json();
    assert_eq!((text(&opened["Plaintext"]), text(&opened["KeyId"])), ("aGVsbG8=".into(), arn));
    for (region, operation) in [("local-1", "Encrypt"), ("eu-west-1", "Decrypt")] {
        let found = key(&place, ["--region", region, "get-key-last-usage", "--key-id", &id]).json();
        assert_eq!(found["KeyLastUsage"]["Operation"], operation);
    }
    key(&place, ["update-primary-region", "--key-id", &id, "--primary-region", "eu-west-1"]).ok();
    let rotate = ["--region", "eu-west-1", "rotate-key-on-demand", "--key-id", &id];
    let refused = key(&place, ["rotate-key-on-demand", "--key-id", &id]);
    assert!(refused.code == 10 && refused.err.contains("(UnsupportedOperationException)"), "{refused:?}");
    key(&place, rotate).ok();
    let related = key(&place, ["describe-key", "--key-id", &id]).json();
    let related = &related["KeyMetadata"]["MultiRegionConfiguration"];
    assert_eq!(related["PrimaryKey"]["Region"], "eu-west-1");
    assert_eq!(related["ReplicaKeys"][0]["Region"], "local-1");
    assert_eq!(key(&place, ["--region", "No Region", "list-keys"]).code, 2);
}

#[test]
fn aliases_lead_to_keys() {
    let place = place();
    let (one, two) = (create(&place), create(&place));
    key(&place, ["create-alias", "--alias-name", "alias/data", "--target-key-id", &one]).ok();
    key(&place, ["update-alias", "--alias-name", "alias/data", "--target-key-id", &two]).ok();
    let found = key(&place, ["describe-key", "--key-id", "alias/data"]).json();
    assert_eq!(text(&found["KeyMetadata"]["KeyId"]), two);
    let listed = key(&place, ["list-aliases", "--key-id", &two]).json();
    assert_eq!(listed["Aliases"][0]["AliasName"], "alias/data");
    assert_eq!(listed["Aliases"][0]["TargetKeyId"], two);
    key(&place, ["delete-alias", "--alias-name", "alias/data"]).ok();
    assert_eq!(key(&place, ["describe-key", "--key-id", "alias/data"]).code, 10);
}

#[test]
fn blobs_and_contexts_go_in_and_out() {
    let place = place();
    let (id, other) = (create(&place), create(&place));
    std::fs::write(place.path("plain"), b"hello").unwrap();
    let made = key(
        &place,
        ["encrypt", "--key-id", &id, "--plaintext", "fileb://plain", "--encryption-context", "a=1,b=2"],
    );
    let blob = text(&made.json()["CiphertextBlob"]);
    let open = |blob: &str, context: &str| {
        key(&place, ["decrypt", "--ciphertext-blob", blob, "--encryption-context", context])
    };
    assert_eq!(open(&blob, "b=2,a=1").json()["Plaintext"], "aGVsbG8=");
    let ran = open(&blob, "a=1");
    assert!(ran.code == 10 && ran.err.contains("InvalidCiphertextException"), "{ran:?}");
    let moved = key(
        &place,
        [
            "re-encrypt",
            "--ciphertext-blob",
            &blob,
            "--source-encryption-context",
            "a=1,b=2",
            "--destination-key-id",
            &other,
            "--destination-encryption-context",
            "{\"c\": \"3\"}",
        ],
    );
    let moved = moved.json();
    assert!(text(&moved["KeyId"]).ends_with(&other) && text(&moved["SourceKeyId"]).ends_with(&id));
    assert_eq!(open(&text(&moved["CiphertextBlob"]), "c=3").json()["Plaintext"], "aGVsbG8=");
    let made = key(&place, ["generate-data-key", "--key-id", &id, "--key-spec", "AES_256"]).json();
    let opened = key(&place, ["decrypt", "--ciphertext-blob", &text(&made["CiphertextBlob"])]).json();
    assert_eq!(opened["Plaintext"], made["Plaintext"]);
    let made =
        key(&place, ["generate-data-key-without-plaintext", "--key-id", &id, "--number-of-bytes", "16"])
            .json();
    assert!(made.get("Plaintext").is_none());
    let random = key(&place, ["generate-random", "--number-of-bytes", "24"]).json();
    assert_eq!(text(&random["Plaintext"]).len(), 32);
    let ran = key(&place, ["encrypt", "--key-id", &id, "--plaintext", "aGk=", "--dry-run"]);
    assert!(ran.code == 10 && ran.err.contains("DryRunOperationException"), "{ran:?}");
}

#[test]
fn keys_rotate_and_are_deleted() {
    let place = place();
    let id = create(&place);
    key(&place, ["enable-key-rotation", "--key-id", &id, "--rotation-period-in-days", "90"]).ok();
    let status = key(&place, ["get-key-rotation-status", "--key-id", &id]).json();
    assert_eq!((&status["KeyRotationEnabled"], &status["RotationPeriodInDays"]), (&true.into(), &90.into()));
    key(&place, ["disable-key-rotation", "--key-id", &id]).ok();
    key(&place, ["rotate-key-on-demand", "--key-id", &id]).ok();
    let rotations = key(&place, ["list-key-rotations", "--key-id", &id]).json();
    assert_eq!(rotations["Rotations"][0]["RotationType"], "ON_DEMAND");
    let scheduled =
        key(&place, ["schedule-key-deletion", "--key-id", &id, "--pending-window-in-days", "7"]).json();
    assert_eq!(scheduled["KeyState"], "PendingDeletion");
    key(&place, ["cancel-key-deletion", "--key-id", &id]).ok();
    let found = key(&place, ["describe-key", "--key-id", &id]).json();
    assert_eq!(found["KeyMetadata"]["KeyState"], "Disabled");
}

#[test]
fn material_is_imported_and_deleted() {
    let place = place();
    let made = key(&place, ["create-key", "--origin", "EXTERNAL"]).json();
    let id = text(&made["KeyMetadata"]["KeyId"]);
    assert_eq!(made["KeyMetadata"]["KeyState"], "PendingImport");
    std::fs::write(place.path("material"), [5; 32]).unwrap();
    let imported = key(&place, ["import", "--key-id", &id, "--material-file", "material"]).json();
    let found = key(&place, ["describe-key", "--key-id", &id]).json();
    assert_eq!(found["KeyMetadata"]["KeyState"], "Enabled");
    assert_eq!(found["KeyMetadata"]["ExpirationModel"], "KEY_MATERIAL_DOES_NOT_EXPIRE");
    assert_eq!(found["KeyMetadata"]["CurrentKeyMaterialId"], imported["KeyMaterialId"]);
    key(&place, ["delete-imported-key-material", "--key-id", &id]).ok();
    // The long way round: the customer wraps the material with other tools.
    let parameters = key(
        &place,
        [
            "get-parameters-for-import",
            "--key-id",
            &id,
            "--wrapping-algorithm",
            "RSAES_OAEP_SHA_256",
            "--wrapping-key-spec",
            "RSA_2048",
        ],
    );
    let parameters = parameters.json();
    std::fs::write(place.path("key.b64"), text(&parameters["PublicKey"])).unwrap();
    std::fs::write(place.path("token.b64"), text(&parameters["ImportToken"])).unwrap();
    place
        .sh("base64 -d key.b64 > key.der; base64 -d token.b64 > token; \
             openssl pkeyutl -encrypt -keyform DER -pubin -inkey key.der -in material -out wrapped \
             -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256")
        .ok();
    let import = |more: [&str; 2]| {
        let base = ["key", "import-key-material", "--key-id", &id, "--import-token", "fileb://token"];
        let ran: Ran = place
            .kmsfs()
            .args(base)
            .args(["--encrypted-key-material", "fileb://wrapped"])
            .args(more)
            .output()
            .unwrap()
            .into();
        ran
    };
    assert_eq!(import(["--expiration-model", "KEY_MATERIAL_EXPIRES"]).code, 10);
    import(["--expiration-model", "KEY_MATERIAL_DOES_NOT_EXPIRE"]).ok();
    let found = key(&place, ["describe-key", "--key-id", &id]).json();
    assert_eq!(found["KeyMetadata"]["KeyState"], "Enabled");
}

#[test]
fn a_keystore_is_made_before_any_volume_and_sealed_again() {
    let place = Place::empty();
    assert_eq!(key(&place, ["list-keys"]).code, 6);
    place.run(["keystore", "create"]).ok();
    place.run(["keystore", "create"]).refused(16, &["exists already"]);
    let id = create(&place);
    place.run(["init", "backing", "--key", &id]).ok();
    std::fs::write(place.path("new"), "another passphrase").unwrap();
    place.run(["keystore", "reseal", "--new-passphrase-file", "new"]).ok();
    place.run(["key", "list-keys"]).refused(7, &["wrong passphrase"]);
    place.run(["key", "list-keys", "--passphrase-file", "new"]).ok();
    place.run(["keystore", "reseal", "--passphrase-file", "new", "--new-key-file", "file"]).ok();
    place.run(["key", "list-keys", "--key-file", "file"]).ok();
}

#[test]
fn a_keystore_opens_with_a_recovery_key_shares_or_a_credential() {
    let place = Place::empty();
    let further = ["--write-recovery-key", "recovery", "--shares", "2-of-3", "--write-shares", "shares"];
    let init = ["init", "backing"];
    let made = place.kmsfs().args(init).args(further).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let info = place.run(["keystore", "info", "--json"]).json();
    assert_eq!(info["Seals"], serde_json::json!(["passphrase", "recovery key", "2 of 3 shares"]));
    let secret = std::fs::read_to_string(place.path("recovery")).unwrap();
    assert!(!String::from_utf8_lossy(&made.stderr).contains(secret.trim()), "shown although it was written");
    // A mount of somebody who has only that.
    let mut mount = place.kmsfs();
    mount.env_remove("KMSFS_PASSPHRASE_FILE").args(["mount", "backing", "mount", "--journal-mib", "4"]);
    let mounted =
        mount.args(["--share-file", "shares/share-1", "--share-file", "shares/share-3"]).output().unwrap();
    assert!(mounted.status.success(), "{mounted:?}");
    place.umount().ok();
    place.run(["key", "list-keys", "--share-file", "shares/share-2"]).refused(7, &["2 are needed"]);
    std::fs::write(place.path("copied"), secret.replace('a', "b")).unwrap();
    place.run(["key", "list-keys", "--recovery-key-file", "copied"]).refused(7, &["wrong recovery key"]);

    // The passphrase is lost: a credential of the service manager takes its place.
    std::fs::create_dir(place.path("credentials")).unwrap();
    std::fs::write(place.path("credentials/root"), [9; 32]).unwrap();
    let with_credentials = |args: &[&str]| -> Ran {
        let mut command = place.kmsfs();
        command.env_remove("KMSFS_PASSPHRASE_FILE").env("CREDENTIALS_DIRECTORY", place.path("credentials"));
        command.args(args).output().unwrap().into()
    };
    let recovery = ["--recovery-key-file", "recovery", "--new-credential", "root"];
    with_credentials(&[&["kms", "reseal"], &recovery[..]].concat()).ok();
    with_credentials(&["key", "list-keys", "--credential", "root"]).ok();
    with_credentials(&["mount", "backing", "mount", "--journal-mib", "4", "--credential", "root"]).ok();
    place.umount().ok();
    place.run(["key", "list-keys", "--credential", "root"]).refused(7, &["no systemd credential"]);
    place.run(["key", "list-keys"]).refused(7, &["sealed by a systemd credential"]);
    with_credentials(&["key", "list-keys", "--recovery-key-file", "recovery"]).ok();
}

#[test]
fn keys_of_other_kinds_sign_authenticate_agree_and_encapsulate() {
    let place = place();
    let create = |spec: &str, usage: &str| {
        let made = key(&place, ["create-key", "--key-spec", spec, "--key-usage", usage]).json();
        text(&made["KeyMetadata"]["KeyId"])
    };
    let signer = create("ML_DSA_65", "SIGN_VERIFY");
    let algorithm = ["--signing-algorithm", "ML_DSA_SHAKE_256"];
    let sign = ["sign", "--key-id", &signer, "--message", "aGVsbG8=", algorithm[0], algorithm[1]];
    let signature = text(&key(&place, sign).json()["Signature"]);
    let verify = |message: &str| {
        let [name, value] = algorithm;
        key(
            &place,
            ["verify", "--key-id", &signer, "--message", message, name, value, "--signature", &signature],
        )
    };
    assert_eq!(verify("aGVsbG8=").json()["SignatureValid"], true);
    let refused = verify("aGVsbG9v");
    assert_eq!(refused.code, 10);
    assert!(refused.err.contains("KMSInvalidSignatureException"), "{}", refused.err);

    let hmac = create("HMAC_256", "GENERATE_VERIFY_MAC");
    let described = key(&place, ["describe-key", "--key-id", &hmac]).json();
    assert_eq!(described["KeyMetadata"]["MacAlgorithms"], serde_json::json!(["HMAC_SHA_256"]));
    let options = ["--key-id", &hmac, "--message", "aGVsbG8=", "--mac-algorithm", "HMAC_SHA_256"];
    let [a, b, c, d, e, f] = options;
    let mac = text(&key(&place, ["generate-mac", a, b, c, d, e, f]).json()["Mac"]);
    assert_eq!(key(&place, ["verify-mac", a, b, c, d, e, f, "--mac", &mac]).json()["MacValid"], true);

    let kem = create("ML_KEM_768", "ENCAPSULATE_DECAPSULATE");
    let by = ["--encapsulation-algorithm", "ML_KEM"];
    let made = key(&place, ["encapsulate", "--key-id", &kem, by[0], by[1]]).json();
    let blob = text(&made["SharedSecretCiphertextBlob"]);
    let blob = ["--shared-secret-ciphertext-blob", &blob];
    let opened = key(&place, ["decapsulate", "--key-id", &kem, by[0], by[1], blob[0], blob[1]]).json();
    assert_eq!(opened["SharedSecret"], made["SharedSecret"]);

    let agreeing = create("ECC_NIST_P256", "KEY_AGREEMENT");
    let public = text(&key(&place, ["get-public-key", "--key-id", &agreeing]).json()["PublicKey"]);
    let by = ["--key-agreement-algorithm", "ECDH"];
    let peer = ["--public-key", &public];
    let made = key(&place, ["derive-shared-secret", "--key-id", &agreeing, by[0], by[1], peer[0], peer[1]]);
    assert_eq!(made.json()["KeyOrigin"], "AWS_KMS");
}

#[test]
fn policies_grants_and_tags_have_the_verbs_of_aws() {
    let place = place();
    let id = create(&place);
    let found = key(&place, ["get-key-policy", "--key-id", &id]).json();
    assert_eq!(found["PolicyName"], "default");
    let policy = text(&found["Policy"]).replace("Enable IAM User Permissions", "Mine");
    std::fs::write(place.path("policy.json"), &policy).unwrap();
    key(
        &place,
        ["put-key-policy", "--key-id", &id, "--policy-name", "default", "--policy", "file://policy.json"],
    )
    .ok();
    assert_eq!(text(&key(&place, ["get-key-policy", "--key-id", &id]).json()["Policy"]), policy);
    let ran = key(&place, ["put-key-policy", "--key-id", &id, "--policy", "{}"]);
    assert!(ran.code == 10 && ran.err.contains("(MalformedPolicyDocumentException)"), "{ran:?}");
    assert_eq!(
        key(&place, ["list-key-policies", "--key-id", &id]).json()["PolicyNames"],
        serde_json::json!(["default"])
    );

    let eve = "arn:aws:iam::444455556666:user/eve";
    let constraint = "EncryptionContextSubset={a=1}";
    let made = key(
        &place,
        [
            "create-grant",
            "--key-id",
            &id,
            "--grantee-principal",
            eve,
            "--operations",
            "Decrypt",
            "Encrypt",
            "--constraints",
            constraint,
        ],
    );
    let (grant, token) = (text(&made.json()["GrantId"]), text(&made.json()["GrantToken"]));
    let listed = key(&place, ["list-grants", "--key-id", &id]).json();
    assert_eq!(listed["Grants"][0]["GrantId"], grant);
    assert_eq!(
        listed["Grants"][0]["Constraints"],
        serde_json::json!({"EncryptionContextSubset": {"a": "1"}})
    );
    let ran = key(&place, ["retire-grant", "--grant-token", &token]);
    assert!(ran.code == 10 && ran.err.contains("(AccessDeniedException)"), "{ran:?}");
    key(&place, ["revoke-grant", "--key-id", &id, "--grant-id", &grant]).ok();
    assert_eq!(key(&place, ["list-grants", "--key-id", &id]).json()["Grants"], serde_json::json!([]));
    let ran = key(&place, ["list-retirable-grants", "--retiring-principal", eve]).json();
    assert_eq!(ran["Grants"], serde_json::json!([]));

    key(&place, ["tag-resource", "--key-id", &id, "--tags", "TagKey=a,TagValue=1", "TagKey=b,TagValue=2"])
        .ok();
    key(&place, ["untag-resource", "--key-id", &id, "--tag-keys", "a"]).ok();
    let tags = serde_json::json!([{"TagKey": "b", "TagValue": "2"}]);
    assert_eq!(key(&place, ["list-resource-tags", "--key-id", &id]).json()["Tags"], tags);
}

#[test]
fn a_decision_is_explained_by_its_statement() {
    let place = place();
    let id = create(&place);
    let explain = |rest: &[&str]| {
        let mut args = vec!["key", "explain", "--key-id", &id, "--action", "Decrypt"];
        args.extend_from_slice(rest);
        Ran::from(place.kmsfs().args(args).output().unwrap())
    };
    let own = explain(&[]).json();
    assert_eq!((&own["Decision"], &own["Action"]), (&Value::from("Allow"), &Value::from("kms:Decrypt")));
    assert_eq!(own["KeyPolicyStatement"]["Sid"], "Enable IAM User Permissions");
    let eve = "arn:aws:iam::444455556666:user/eve";
    let stranger = explain(&["--principal", eve]).json();
    assert_eq!(stranger["Decision"], "Deny");
    assert_eq!(stranger["Reason"], "neither the key policy nor a grant allows it");
    assert!(text(&stranger["Refusal"]).contains("no resource-based policy allows the kms:Decrypt action"));
    key(
        &place,
        [
            "create-grant",
            "--key-id",
            &id,
            "--grantee-principal",
            eve,
            "--operations",
            "Decrypt",
            "--constraints",
            "EncryptionContextEquals={a=1}",
        ],
    )
    .ok();
    assert_eq!(explain(&["--principal", eve]).json()["Decision"], "Deny");
    let granted = explain(&["--principal", eve, "--encryption-context", "a=1"]).json();
    assert_eq!(
        (&granted["Decision"], &granted["Grant"]["GranteePrincipal"]),
        (&Value::from("Allow"), &Value::from(eve))
    );
    let policy = r#"{"Statement": {"Effect": "Deny", "Action": "kms:*", "Resource": "*", "Condition": {"StringEquals": {"kms:ViaService": "kmsfs.local-1.amazonaws.com"}}}}"#;
    let ann =
        ["--principal", "arn:aws:iam::000000000000:user/ann", "--principal-policy", policy, "--via-service"];
    let kmsfs = explain(&[&ann[..], &["kmsfs"]].concat()).json();
    assert_eq!(kmsfs["Reason"], "Statement[0] of policy 0 of the principal denies it");
    assert_eq!(kmsfs["PrincipalPolicyStatement"]["Effect"], "Deny");
    let ebs = explain(&[&ann[..], &["ebs"]].concat()).json();
    assert!(text(&ebs["Reason"]).ends_with("no policy of the principal and no grant allows it"));
    assert_eq!(explain(&["--principal", "bob"]).code, 2);
    assert_eq!(key(&place, ["explain", "--key-id", &id, "--action", "kms:Nothing"]).code, 10);
}
