//! CreateKey, DescribeKey and references to keys.

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::*;

use crate::fixture::{Fixture, context};

fn refusal(request: CreateKeyRequest) -> KmsError {
    let fixture = Fixture::in_memory();
    fixture.kms.create_key(&fixture.caller, &request).expect_err("must be refused")
}

fn tag(key: &str) -> Tag {
    Tag { key: key.into(), value: "v".into() }
}

#[test]
fn a_new_key_has_the_metadata_of_aws() {
    for fixture in Fixture::on_every_store() {
        let request = CreateKeyRequest { description: Some("for tests".into()), ..Default::default() };
        let key_id = fixture.create_with(request);
        let metadata = fixture.describe(key_id);
        assert_eq!(metadata.arn.to_string(), format!("arn:aws:kms:local-1:000000000000:key/{key_id}"));
        assert_eq!(metadata.description, "for tests");
        assert_eq!(metadata.creation_date, fixture.clock.now());
        assert_eq!(metadata.key_spec, KeySpec::SymmetricDefault);
        assert_eq!(metadata.key_usage, KeyUsage::EncryptDecrypt);
        assert_eq!(metadata.origin, Origin::AwsKms);
        assert_eq!(metadata.key_manager, KeyManager::Customer);
        assert_eq!(metadata.algorithms.encryption, [EncryptionAlgorithm::SymmetricDefault]);
        assert!(metadata.enabled() && !metadata.multi_region);
        assert!(metadata.current_key_material_id.is_some());
    }
}

#[test]
fn a_multi_region_key_has_another_kind_of_id() {
    let fixture = Fixture::on_disk();
    let key_id = fixture.create_with(CreateKeyRequest { multi_region: true, ..Default::default() });
    assert!(key_id.to_string().starts_with("mrk-"));
    assert!(fixture.describe(key_id).multi_region);
    let blob = fixture.encrypt(key_id, b"text").expect("encrypts");
    assert_eq!(fixture.decrypt(&blob), Ok(b"text".to_vec()));
}

#[test]
fn refusals_have_the_messages_of_aws() {
    let both = CreateKeyRequest {
        key_spec: Some(KeySpec::SymmetricDefault),
        customer_master_key_spec: Some(KeySpec::SymmetricDefault),
        ..Default::default()
    };
    assert_eq!(
        refusal(both).message(),
        "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated."
    );
    let no_usage = CreateKeyRequest { key_spec: Some(KeySpec::Rsa2048), ..Default::default() };
    assert_eq!(
        refusal(no_usage).message(),
        "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."
    );
    let mismatch = CreateKeyRequest { key_usage: Some(KeyUsage::SignVerify), ..Default::default() };
    assert_eq!(
        refusal(mismatch).message(),
        "KeyUsage SIGN_VERIFY is not compatible with KeySpec SYMMETRIC_DEFAULT"
    );
    let sm2 = CreateKeyRequest {
        key_spec: Some(KeySpec::Sm2),
        key_usage: Some(KeyUsage::SignVerify),
        ..Default::default()
    };
    assert!(matches!(refusal(sm2), KmsError::UnsupportedOperation(_)));
    let tagged = |tags: Vec<Tag>| refusal(CreateKeyRequest { tags, ..Default::default() });
    assert_eq!(tagged(vec![tag("a"), tag("a")]), KmsError::Tag("Duplicate tag keys".into()));
    assert_eq!(tagged(vec![tag("aws:x")]), KmsError::Tag("Tags beginning with aws: are reserved".into()));
    let many = (0..51).map(|number| tag(&number.to_string())).collect();
    assert_eq!(tagged(many), KmsError::Tag("Too many tags".into()));
}

#[test]
fn references_that_lead_nowhere_have_the_messages_of_aws() {
    let fixture = Fixture::in_memory();
    let describe = |text: &str| {
        let key_id: KeyRef = text.parse().expect("well-formed");
        let request = DescribeKeyRequest::new(key_id);
        fixture.kms.describe_key(&fixture.caller, &request).expect_err("leads nowhere")
    };
    let id = "6f1b8bd8-3b57-4f2b-9d6b-2c1f7c1b0a11";
    let arn = format!("arn:aws:kms:local-1:000000000000:key/{id}");
    let missing = KmsError::NotFound(format!("Key '{arn}' does not exist"));
    assert_eq!(describe(id), missing);
    assert_eq!(describe(&arn), missing);
    assert_eq!(
        describe(&format!("arn:aws:kms:eu-west-1:000000000000:key/{id}")),
        KmsError::NotFound("Invalid arn eu-west-1".into())
    );
    let foreign = format!("arn:aws:kms:local-1:111122223333:key/{id}");
    assert_eq!(describe(&foreign), KmsError::NotFound(format!("Key '{foreign}' does not exist")));
}

#[test]
fn an_arn_works_wherever_an_id_does() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    let arn: KeyRef = fixture.arn(key_id).parse().expect("an ARN");
    assert!(fixture.encrypt(arn.clone(), b"x").is_ok());
    assert!(fixture.kms.disable_key(&fixture.caller, &KeyOnlyRequest { key_id: arn }).is_ok());
    let refused = fixture.encrypt(key_id, b"x").expect_err("disabled");
    assert_eq!(refused, KmsError::Disabled(format!("{} is disabled.", fixture.arn(key_id))));
}

#[test]
fn the_description_can_be_changed_up_to_its_limit() {
    let fixture = Fixture::in_memory();
    let key_id = fixture.create();
    let update = |description: String| {
        let request = UpdateKeyDescriptionRequest { key_id: key_id.into(), description };
        fixture.kms.update_key_description(&fixture.caller, &request)
    };
    update("x".repeat(8192)).expect("fits");
    assert_eq!(fixture.describe(key_id).description.len(), 8192);
    assert!(matches!(update("x".repeat(8193)), Err(KmsError::Validation(_))));
}

#[test]
fn too_many_grant_tokens_are_refused() {
    let fixture = Fixture::in_memory();
    let mut request = GenerateDataKeyRequest::aes_256(fixture.create(), context());
    request.grant_tokens = vec!["t".into(); 11];
    assert!(matches!(fixture.kms.generate_data_key(&fixture.caller, &request), Err(KmsError::Validation(_))));
}
