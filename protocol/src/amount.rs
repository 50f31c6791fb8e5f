//! Amounts of resources, exact to a ten-thousandth (`docs/spec/1-bus`, section "Amounts").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How much of a kind of resource, in ten-thousandths: nothing is ever rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Amount(u64);

/// A text or number that is no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an amount is a number from 0 to {} with at most four digits behind the point",
    Amount::MOST
)]
pub struct WrongAmount;

impl Amount {
    /// Parts of one whole.
    pub const PARTS: u64 = 10_000;
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The most there is of anything: 2⁴⁴, so that a hundred times as many parts fit into 64 bits. It is 16 TiB in bytes.
    pub const MOST: Self = Self((1 << 44) * Self::PARTS);

    /// Only of less than so many parts a double says each: with more of them an amount is whole.
    const EXACT: u64 = 1 << 50;

    /// So many whole ones, at most [`Amount::MOST`].
    pub const fn whole(count: u64) -> Self {
        if count > Self::MOST.0 / Self::PARTS {
            Self::MOST
        } else {
            Self(count * Self::PARTS)
        }
    }

    /// So many ten-thousandths.
    pub const fn from_parts(parts: u64) -> Self {
        Self(parts)
    }

    /// In ten-thousandths.
    pub const fn parts(self) -> u64 {
        self.0
    }

    /// Whether there is none.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Whether there is no part of a whole in it.
    pub const fn is_whole(self) -> bool {
        self.0.is_multiple_of(Self::PARTS)
    }

    /// How many whole ones are in it.
    pub const fn floor(self) -> u64 {
        self.0 / Self::PARTS
    }

    /// How many whole ones it takes part of.
    pub const fn ceil(self) -> u64 {
        self.0.div_ceil(Self::PARTS)
    }

    /// So many times as much; what would be more than all numbers is the highest of them.
    #[must_use]
    pub const fn times(self, count: u32) -> Self {
        Self(self.0.saturating_mul(count as u64))
    }
}

impl From<u32> for Amount {
    fn from(count: u32) -> Self {
        Self::whole(u64::from(count))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.floor(), self.0 % Self::PARTS);
        if rest == 0 {
            return write!(out, "{whole}");
        }
        let digits = format!("{rest:04}");
        write!(out, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl FromStr for Amount {
    type Err = WrongAmount;

    fn from_str(text: &str) -> Result<Self, WrongAmount> {
        let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(rest) || rest.len() > 4 {
            return Err(WrongAmount);
        }
        let whole: u64 = whole.parse().map_err(|_| WrongAmount)?;
        let rest: u64 = format!("{rest:0<4}").parse().map_err(|_| WrongAmount)?;
        let parts = whole
            .checked_mul(Self::PARTS)
            .and_then(|parts| parts.checked_add(rest));
        let fits = |amount: &Self| *amount <= Self::MOST && (amount.is_whole() || amount.0 < Self::EXACT);
        parts.map(Self).filter(fits).ok_or(WrongAmount)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_whole() || self.0 >= Self::EXACT {
            serializer.serialize_u64(self.ceil())
        } else {
            serializer.serialize_f64(self.as_f64())
        }
    }
}

impl Amount {
    /// The number nearest to it, and to no other of less than so many parts that a `f64` is exact.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / Self::PARTS as f64
    }

    /// The amount that a number is nearest to, if that is the number meant.
    #[expect(clippy::float_cmp, reason = "the same number, and no other, is meant")]
    fn of_f64(number: f64) -> Option<Self> {
        if number == number.trunc() && (0.0..=Self::MOST.floor() as f64).contains(&number) {
            return Some(Self::whole(number as u64));
        }
        let parts = (number * Self::PARTS as f64).round();
        let amount = Self(parts as u64);
        let fits = (0.0..Self::EXACT as f64).contains(&parts);
        (fits && amount.as_f64() == number).then_some(amount)
    }

    /// The same of the short form, of which only as many digits are meant as it has.
    #[expect(clippy::float_cmp, reason = "the same number, and no other, is meant")]
    fn of_f32(number: f32) -> Option<Self> {
        let near = (f64::from(number) * Self::PARTS as f64).round() / Self::PARTS as f64;
        let meant = if near as f32 == number {
            near
        } else {
            f64::from(number)
        };
        Self::of_f64(meant)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl de::Visitor<'_> for Number {
            type Value = Amount;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{WrongAmount}")
            }

            /// What is more than there can be of anything is kept as that, so that it can be refused by name.
            fn visit_u64<E>(self, count: u64) -> Result<Amount, E> {
                Ok(Amount(count.saturating_mul(Amount::PARTS)))
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<Amount, E> {
                let wrong = || E::invalid_value(de::Unexpected::Signed(count), &self);
                u64::try_from(count)
                    .map_err(|_| wrong())
                    .and_then(|count| self.visit_u64(count))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Amount, E> {
                let wrong = || E::invalid_value(de::Unexpected::Float(number), &self);
                Amount::of_f64(number).ok_or_else(wrong)
            }

            fn visit_f32<E: de::Error>(self, number: f32) -> Result<Amount, E> {
                let wrong = || E::invalid_value(de::Unexpected::Float(number.into()), &self);
                Amount::of_f32(number).ok_or_else(wrong)
            }
        }
        deserializer.deserialize_any(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_exact() {
        for (text, parts, shown) in [
            ("0", 0, "0"),
            ("3", 30_000, "3"),
            ("0.5", 5_000, "0.5"),
            ("1.2500", 12_500, "1.25"),
            ("0.0001", 1, "0.0001"),
            ("17592186044416", 1 << 44, "17592186044416"),
        ] {
            let amount: Amount = text.parse().unwrap();
            let parts = if parts == 1 << 44 {
                Amount::MOST.parts()
            } else {
                parts
            };
            assert_eq!(
                (amount.parts(), amount.to_string().as_str()),
                (parts, shown),
                "{text}"
            );
        }
        for wrong in [
            "",
            ".5",
            "1.",
            "-1",
            "+1",
            "1e3",
            "0.00001",
            "1,5",
            "nan",
            "17592186044416.1",
            "200000000000.5",
            "99999999999999999999",
        ] {
            assert_eq!(wrong.parse::<Amount>(), Err(WrongAmount), "{wrong}");
        }
    }

    #[test]
    fn every_part_goes_over_the_wire_and_back() {
        let edge = Amount::EXACT;
        for parts in (0..30_000)
            .chain((1_234_567_000..1_234_567_999).step_by(7))
            .chain(edge - 5_000..edge)
            .chain([Amount::MOST.parts()])
        {
            let amount = Amount::from_parts(parts);
            let bytes = rmp_serde::to_vec(&amount).unwrap();
            assert_eq!(rmp_serde::from_slice::<Amount>(&bytes).unwrap(), amount);
            let float = bytes.first() == Some(&0xcb);
            assert_eq!(
                float,
                !amount.is_whole(),
                "a whole one is a whole number: {amount}"
            );
        }
    }

    #[test]
    fn only_numbers_with_four_digits_are_amounts() {
        let read = |bytes: &[u8]| rmp_serde::from_slice::<Amount>(bytes).ok().map(Amount::parts);
        let double = |number: f64| [&[0xcb][..], &number.to_be_bytes()].concat();
        let single = |number: f32| [&[0xca][..], &number.to_be_bytes()].concat();
        assert_eq!(read(&double(0.1)), Some(1_000));
        assert_eq!(read(&double(2.0)), Some(20_000));
        assert_eq!(read(&double(1e12)), Some(10_000_000_000_000_000));
        assert_eq!(read(&single(0.1)), Some(1_000));
        assert_eq!(read(&single(0.3333)), Some(3_333));
        assert_eq!(read(&[0xd0, 0x05]), Some(50_000));
        for wrong in [0.000_01, 1.0 / 3.0, -0.5, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(read(&double(wrong)), None, "{wrong}");
        }
        for wrong in [&[0xff][..], b"\xa11", &[0xc0], &[0xc3]] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
