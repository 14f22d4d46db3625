//! Which Region's rows a transaction sees.

use crate::model::Region;

/// A Region of a store. Keys, materials, aliases and grants are apart by Region; users are not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Locality {
    /// That of the keystore itself, whatever its name is.
    #[default]
    Home,
    /// Another one.
    Away(Region),
}

impl Locality {
    /// A Region as a store with this home sees it.
    pub fn of(region: &Region, home: &Region) -> Self {
        if region == home { Self::Home } else { Self::Away(region.clone()) }
    }

    /// The Region in a store with this home.
    pub fn region<'a>(&'a self, home: &'a Region) -> &'a Region {
        match self {
            Self::Home => home,
            Self::Away(region) => region,
        }
    }

    /// How rows say it: the name of the Region, and nothing for the home.
    pub fn column(&self) -> &str {
        match self {
            Self::Home => "",
            Self::Away(region) => region.as_str(),
        }
    }

    /// Reads [`Self::column`]; `None` for what is not a Region.
    pub fn from_column(text: &str) -> Option<Self> {
        if text.is_empty() { Some(Self::Home) } else { text.parse().ok().map(Self::Away) }
    }

    /// Adds the Region to the place that a seal is for. That of the home is not added: rows were sealed before there
    /// were others.
    pub(super) fn bind<'a>(&'a self, place: &[&'a [u8]]) -> Vec<&'a [u8]> {
        let region = self.column().as_bytes();
        place.iter().copied().chain((!region.is_empty()).then_some(region)).collect()
    }
}
