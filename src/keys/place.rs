//! Where a KMS key is: in the keystore of this host, or at a service elsewhere.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use kms_core::KmsError;
use kms_core::client::KeyService;
use kms_core::model::Caller;

/// The longest name of an endpoint: it has to fit into a domain record beside ARNs and wraps.
const ENDPOINT_MAX: usize = 255;
const REGION_MAX: usize = 32;

/// Where a KMS key is. Its text is what a domain record says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyPlace {
    /// In the keystore.
    Keystore,
    /// At a service with the interface of AWS KMS.
    Remote {
        /// The Region that requests are signed for.
        region: String,
        /// The URL of the service; that of AWS for the Region if there is none.
        endpoint: Option<String>,
    },
}

/// Why a text does not say where a key is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The Region has other characters than its name can have.
    #[error("{0:?} is not the name of a Region")]
    Region(String),
    /// The key is elsewhere, and nothing says in which Region.
    #[error("the Region of the key {0} is not known")]
    NoRegion(String),
    /// The endpoint is not a URL that can be used.
    #[error("{0:?} is not a URL of a service")]
    Endpoint(String),
    /// Data keys would cross a network in the clear.
    #[error("{0} is neither https nor on this host: data keys would cross the network in the clear")]
    InTheClear(String),
    /// A word that is not known.
    #[error("{0:?} does not say where a key is: known are keystore, region=NAME and endpoint-url=URL")]
    Word(String),
}

impl KeyPlace {
    /// A service elsewhere.
    ///
    /// # Errors
    /// [`PlaceError`] for a Region or an endpoint that cannot be one.
    pub fn remote(region: &str, endpoint: Option<&str>) -> Result<Self, PlaceError> {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if region.is_empty() || region.len() > REGION_MAX || !region.bytes().all(legal) {
            return Err(PlaceError::Region(region.to_owned()));
        }
        let endpoint = endpoint.map(|url| url.trim_end_matches('/'));
        endpoint.map(check_endpoint).transpose()?;
        Ok(Self::Remote { region: region.to_owned(), endpoint: endpoint.map(str::to_owned) })
    }
}

fn check_endpoint(url: &str) -> Result<(), PlaceError> {
    let refused = || PlaceError::Endpoint(url.to_owned());
    let printable = url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
    let (scheme, rest) = url.split_once("://").ok_or_else(refused)?;
    let authority = rest.split('/').next().unwrap_or_default();
    if !printable || url.len() > ENDPOINT_MAX || authority.is_empty() || authority.contains('@') {
        return Err(refused());
    }
    match scheme {
        "https" => Ok(()),
        "http" if is_this_host(authority) => Ok(()),
        "http" => Err(PlaceError::InTheClear(url.to_owned())),
        _ => Err(refused()),
    }
}

/// Whether a host, with or without a port, is the loopback.
fn is_this_host(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keystore => Ok(()),
            Self::Remote { region, endpoint: None } => f.write_str(region),
            Self::Remote { region, endpoint: Some(url) } => write!(f, "{region} {url}"),
        }
    }
}

impl FromStr for KeyPlace {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        match text.split_once(' ') {
            None if text.is_empty() => Ok(Self::Keystore),
            None => Self::remote(text, None),
            Some((region, endpoint)) => Self::remote(region, Some(endpoint)),
        }
    }
}

/// A KMS key as a user names it: `KEY`, `KEY,keystore` or `KEY,region=NAME,endpoint-url=URL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAt {
    /// An id, an ARN or an alias.
    pub key: String,
    /// Where it is; absent for the place of the key that it joins or replaces.
    pub place: Option<KeyPlace>,
}

/// The Region in the ARN of a key or an alias.
pub fn region_of_arn(key: &str) -> Option<&str> {
    let mut parts = key.split(':');
    (parts.next()? == "arn").then_some(())?;
    parts.nth(2).filter(|region| !region.is_empty())
}

impl FromStr for KeyAt {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let mut words = text.split(',');
        let key = words.next().unwrap_or_default().to_owned();
        let (mut keystore, mut region, mut endpoint) = (false, None, None);
        for word in words {
            match word.split_once('=') {
                None if word == "keystore" => keystore = true,
                Some(("region", name)) => region = Some(name),
                Some(("endpoint-url", url)) => endpoint = Some(url),
                _ => return Err(PlaceError::Word(word.to_owned())),
            }
        }
        let place = match (keystore, region, endpoint) {
            (true, None, None) => Some(KeyPlace::Keystore),
            (true, ..) => return Err(PlaceError::Word("keystore".to_owned())),
            (false, None, None) => None,
            (false, region, endpoint) => {
                let region = region.or_else(|| region_of_arn(&key));
                let region = region.ok_or_else(|| PlaceError::NoRegion(key.clone()))?;
                Some(KeyPlace::remote(region, endpoint)?)
            }
        };
        Ok(Self { key, place })
    }
}

impl fmt::Display for KeyAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        match &self.place {
            None => Ok(()),
            Some(KeyPlace::Keystore) => f.write_str(",keystore"),
            Some(KeyPlace::Remote { region, endpoint }) => {
                write!(f, ",region={region}")?;
                endpoint.iter().try_for_each(|url| write!(f, ",endpoint-url={url}"))
            }
        }
    }
}

/// A service, and who calls it.
#[derive(Clone)]
pub struct Connection {
    /// The service.
    pub service: Arc<dyn KeyService>,
    /// Who calls it. A service elsewhere knows its callers by their signatures.
    pub caller: Caller,
}

/// How to reach the services of a volume's keys.
pub trait KeyServices: Send + Sync {
    /// The service at `place`. Called for each request: what takes time is remembered.
    ///
    /// # Errors
    /// Why there is no way there.
    fn connect(&self, place: &KeyPlace) -> Result<Connection, KmsError>;
}

/// The keystore, for volumes all of whose keys are in it.
impl KeyServices for Connection {
    fn connect(&self, place: &KeyPlace) -> Result<Connection, KmsError> {
        match place {
            KeyPlace::Keystore => Ok(self.clone()),
            KeyPlace::Remote { .. } => {
                Err(KmsError::DependencyTimeout(format!("nothing here reaches the service at {place}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_as_it_was_written() {
        for place in [
            KeyPlace::Keystore,
            KeyPlace::remote("eu-central-1", None).unwrap(),
            KeyPlace::remote("local-1", Some("https://kms.example:4599/")).unwrap(),
            KeyPlace::remote("local-1", Some("http://[::1]:4599")).unwrap(),
        ] {
            assert_eq!(place.to_string().parse::<KeyPlace>().unwrap(), place);
            let at = KeyAt { key: "alias/a".to_owned(), place: Some(place) };
            assert_eq!(at.to_string().parse::<KeyAt>().unwrap(), at);
        }
        assert_eq!("alias/a".parse::<KeyAt>().unwrap(), KeyAt { key: "alias/a".to_owned(), place: None });
    }

    #[test]
    fn the_region_of_an_arn_stands_for_one_that_is_not_named() {
        let key = "arn:aws:kms:eu-west-1:111122223333:key/11111111-2222-3333-4444-555555555555";
        let at: KeyAt = format!("{key},endpoint-url=https://a.example").parse().unwrap();
        assert_eq!(at.place, Some(KeyPlace::remote("eu-west-1", Some("https://a.example")).unwrap()));
        let unknown = "alias/a,endpoint-url=https://a.example".parse::<KeyAt>();
        assert!(matches!(unknown, Err(PlaceError::NoRegion(_))));
    }

    #[test]
    fn keys_do_not_cross_a_network_in_the_clear() {
        for url in ["http://kms.example", "http://10.0.0.1:4599", "http://127.0.0.1.example/"] {
            let refused = KeyPlace::remote("a", Some(url));
            assert!(matches!(refused, Err(PlaceError::InTheClear(_))), "{url}");
        }
        for url in ["ftp://a", "https://", "https://user@host", "kms.example", "https://a b"] {
            assert!(matches!(KeyPlace::remote("a", Some(url)), Err(PlaceError::Endpoint(_))), "{url}");
        }
        for url in ["http://localhost", "http://127.8.9.1:4599", "https://kms.example/path"] {
            assert!(KeyPlace::remote("a", Some(url)).is_ok(), "{url}");
        }
        assert!("k,zone=1".parse::<KeyAt>().is_err() && "k,keystore,region=a".parse::<KeyAt>().is_err());
        assert!("UPPER".parse::<KeyPlace>().is_err());
    }
}
