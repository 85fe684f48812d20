//! Checks whether the certificates in a file form a complete chain.
//!
//! Must not judge trust, because which authorities the clients trust is not known here: it only compares the issuer of each
//! certificate with the subject of the next one.

use super::validity::{SEQUENCE, element, fields};

/// `id-ad-caIssuers`: where to get the certificate of the issuer (RFC 5280, 4.2.2.1). Certificates of public intermediate
/// authorities contain it; those of a private root, which clients have anyway, need not.
const CA_ISSUERS: &[u8] = &[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02];

/// `id-at-commonName`.
const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];

/// The most characters of an issuer's name that a message shows.
const NAME_CHARS_MAX: usize = 60;

/// What seems to be missing in a chain, whose first certificate is the agent's own, and what to do.
pub(super) fn hint<C: AsRef<[u8]>>(chain: &[C]) -> Option<String> {
    let mut names = Vec::with_capacity(chain.len());
    for certificate in chain {
        names.push(names_of(certificate.as_ref())?);
    }
    let gap = names.windows(2).position(|pair| pair[0].issuer != pair[1].subject);
    if let Some(at) = gap {
        return Some(format!(
            "its certificate {} was issued by {}, but the next one in the file is not that authority's, so many clients will \
             refuse the agent. Put the intermediate certificates after the agent's own, each before that of its issuer",
            at + 1,
            common_name(names.get(at)?.issuer)
        ));
    }
    let [own] = names[..] else { return None };
    let points_to_issuer = memchr::memmem::find(chain.first()?.as_ref(), CA_ISSUERS).is_some();
    (own.issuer != own.subject && points_to_issuer).then(|| {
        format!(
            "it is alone in its file, and the certificate of its issuer, {}, is missing: clients that do not have it will refuse \
             the agent. Put the intermediate certificates after the agent's own (`fullchain.pem` of ACME clients)",
            common_name(own.issuer)
        )
    })
}

/// The issuer and subject of a certificate, in DER.
#[derive(Clone, Copy)]
struct Names<'c> {
    issuer: &'c [u8],
    subject: &'c [u8],
}

fn names_of(certificate: &[u8]) -> Option<Names<'_>> {
    // Issuer, validity, subject.
    let (issuer, rest) = element(fields(certificate)?, SEQUENCE)?;
    let (_, rest) = element(rest, SEQUENCE)?;
    let (subject, _) = element(rest, SEQUENCE)?;
    Some(Names { issuer, subject })
}

/// The common name in a name, quoted and shortened for a message.
fn common_name(name: &[u8]) -> String {
    let text = || {
        let at = memchr::memmem::rfind(name, COMMON_NAME)? + COMMON_NAME.len();
        let rest = name.get(at..)?;
        let (text, _) = element(rest, *rest.first()?)?;
        std::str::from_utf8(text).ok()
    };
    let text = text().unwrap_or("an authority without a common name");
    format!("{:?}", text.chars().take(NAME_CHARS_MAX).collect::<String>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{
        BasicConstraints, Certificate, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair,
    };

    use super::*;

    struct Authority(Issuer<'static, KeyPair>, Certificate);

    fn parameters(name: &str) -> CertificateParams {
        let mut parameters = CertificateParams::new(vec![]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters
    }

    fn authority(name: &str, by: Option<&Authority>) -> Authority {
        let mut parameters = parameters(name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = match by {
            Some(Authority(issuer, _)) => parameters.signed_by(&key, issuer).unwrap(),
            None => parameters.self_signed(&key).unwrap(),
        };
        Authority(Issuer::new(parameters, key), certificate)
    }

    /// A server's certificate, with or without the address of its issuer's certificate.
    fn issued(by: &Authority, points_to_issuer: bool) -> Vec<u8> {
        let mut parameters = parameters("agent.test");
        if points_to_issuer {
            let url = b"http://ca.test/a";
            let access = [CA_ISSUERS, &[0x86, url.len() as u8], url].concat();
            let access = [&[SEQUENCE, access.len() as u8][..], &access].concat();
            let all = [&[SEQUENCE, access.len() as u8][..], &access].concat();
            let oid = [1, 3, 6, 1, 5, 5, 7, 1, 1];
            parameters.custom_extensions.push(CustomExtension::from_oid_content(&oid, all));
        }
        parameters.signed_by(&KeyPair::generate().unwrap(), &by.0).unwrap().der().to_vec()
    }

    #[test]
    fn a_chain_without_its_intermediate_is_reported() {
        let root = authority("Root", None);
        let middle = authority("Middle \u{1b}[1m", Some(&root));
        let other = authority("Other", Some(&root));
        let der = |authority: &Authority| authority.1.der().to_vec();
        let own = issued(&middle, true);
        for (chain, says) in [
            (
                vec![own.clone()],
                "it is alone in its file, and the certificate of its issuer, \"Middle \\u{1b}[1m\"",
            ),
            (vec![own.clone(), der(&root)], "its certificate 1 was issued by \"Middle"),
            (vec![own.clone(), der(&other)], "its certificate 1 was issued by \"Middle"),
            (vec![own.clone(), der(&middle), der(&other)], "its certificate 2 was issued by \"Root\""),
        ] {
            let hint = hint(&chain).unwrap();
            assert!(hint.contains(says), "{hint}");
        }
        for chain in [
            vec![own.clone(), der(&middle)],
            vec![own.clone(), der(&middle), der(&root)],
            // By a private root that clients are given; nothing says that there is more.
            vec![issued(&root, false)],
            vec![der(&root)],
            vec![b"no certificate".to_vec()],
            Vec::new(),
        ] {
            assert_eq!(hint(&chain), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_bytes_make_it_panic(cut in 0usize..600, place in 0usize..600, value: u8) {
            let mut der = issued(&authority("Root", None), true);
            der.truncate(cut);
            if let Some(byte) = der.get_mut(place) {
                *byte = value;
            }
            let _ = hint(&[der.clone(), der]);
        }
    }
}
