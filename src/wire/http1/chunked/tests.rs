use super::*;
use proptest::prelude::*;

/// Decodes `input` in pieces of `step` bytes; the body, and how much of the input it took, or the refusal.
fn decode(input: &[u8], step: usize, max: u64) -> Result<(Vec<u8>, Option<usize>), u16> {
    let (mut decoder, mut out, mut at) = (Chunked::new(), Vec::new(), 0);
    while at < input.len() {
        let piece = &input[at..input.len().min(at + step)];
        let progress = decoder.decode(piece, &mut out, max).map_err(|refusal| refusal.status)?;
        assert_eq!(progress.done, decoder.is_done());
        at += progress.consumed;
        if progress.done {
            return Ok((out, Some(at)));
        }
        assert_eq!(progress.consumed, piece.len(), "all is taken until the end");
    }
    Ok((out, None))
}

/// The plain twin: splits the whole text at its line ends. Knows no limits but that of the body.
fn decode_plainly(input: &[u8], max: u64) -> Result<(Vec<u8>, usize), ()> {
    let line = |from: usize| -> Result<(&[u8], usize), ()> {
        let len = input[from..].windows(2).position(|pair| pair == b"\r\n").ok_or(())?;
        let line = &input[from..from + len];
        let clean = line.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 127));
        if clean { Ok((line, from + len + 2)) } else { Err(()) }
    };
    let (mut out, mut at) = (Vec::new(), 0);
    loop {
        let (head, after) = line(at)?;
        let digits: Vec<u8> = head.iter().copied().take_while(u8::is_ascii_hexdigit).collect();
        let extension = std::str::from_utf8(&head[digits.len()..]).map_err(drop)?;
        if !extension.is_empty() && !extension.trim_start_matches([' ', '\t']).starts_with(';') {
            return Err(());
        }
        let digits = std::str::from_utf8(&digits).map_err(drop)?;
        let size = u64::from_str_radix(digits, 16).map_err(drop)?;
        at = after;
        if size == 0 {
            break;
        }
        if out.len() as u64 + size > max {
            return Err(());
        }
        let end = at + size as usize;
        out.extend_from_slice(input.get(at..end).ok_or(())?);
        if input.get(end..end + 2) != Some(b"\r\n") {
            return Err(());
        }
        at = end + 2;
    }
    loop {
        let (field, after) = line(at)?;
        at = after;
        match field.first() {
            None => return Ok((out, at)),
            Some(b' ' | b'\t') => return Err(()),
            Some(_) => {}
        }
    }
}

#[test]
fn decodes_chunks_extensions_and_trailers() {
    let input = b"4\r\nWiki\r\n5;a=b;c=\"d e\"\r\npedia\r\nE ; x\r\n in\r\n\r\nchunks.\r\n0\r\nA: b\r\nC:d\r\n\r\nGET /";
    let body = b"Wikipedia in\r\n\r\nchunks.".to_vec();
    for step in [1, 2, 3, 7, input.len()] {
        assert_eq!(decode(input, step, 100), Ok((body.clone(), Some(input.len() - 5))), "in steps of {step}");
    }
}

#[test]
fn refuses_what_others_may_read_differently() {
    for input in [
        "4\nWiki\r\n0\r\n\r\n",
        "4\r\nWiki\n0\r\n\r\n",
        "4\r\nWiki0\r\n\r\n",
        "4\r\nWikis\r\n0\r\n\r\n",
        "0\r\n\n",
        "0\n\r\n",
        "0\r\nA: b\n\r\n",
        "0\r\nA: b\r\r\n\r\n",
        "0\r\nA: b\r\n folded\r\n\r\n",
        "4 \r\nWiki\r\n0\r\n\r\n",
        " 4\r\nWiki\r\n0\r\n\r\n",
        "0x4\r\nWiki\r\n0\r\n\r\n",
        "+4\r\nWiki\r\n0\r\n\r\n",
        "-4\r\nWiki\r\n0\r\n\r\n",
        "4 4\r\nWiki\r\n0\r\n\r\n",
        "4;a\nb\r\nWiki\r\n0\r\n\r\n",
        "4;a\0b\r\nWiki\r\n0\r\n\r\n",
        "4;a\rb\r\nWiki\r\n0\r\n\r\n",
        "\r\n",
        ";a\r\n\r\n",
        "g\r\n",
        "00000000000000001\r\nW\r\n0\r\n\r\n",
        "10000000000000000\r\n",
        "0\r\nA\0: b\r\n\r\n",
    ] {
        for step in [1, input.len()] {
            assert_eq!(decode(input.as_bytes(), step, 100), Err(400), "{input:?}");
        }
        assert!(decode_plainly(input.as_bytes(), 100).is_err() || input.starts_with("000000"), "{input:?}");
    }
}

#[test]
fn a_body_too_large_is_refused_before_it_arrives() {
    assert_eq!(decode(b"64\r\n", 1, 100), Ok((vec![], None)));
    assert_eq!(decode(b"65\r\n", 1, 100), Err(413));
    assert_eq!(decode(b"1\r\nx\r\n64\r\n", 1, 100), Err(413));
    assert_eq!(decode(b"ffffffffffffffff\r\n", 1, 100), Err(413));
    assert_eq!(
        decode(b"1\r\nx\r\nFFFFFFFFFFFFFFFF\r\n", 1, u64::MAX),
        Err(413),
        "no overflow without a limit"
    );
    assert_eq!(decode(b"FFFFFFFFFFFFFFFF\r\nx", 1, u64::MAX), Ok((b"x".to_vec(), None)));
}

#[test]
fn extensions_and_trailers_are_bounded() {
    let chunk = |bytes: usize| format!("1;{}\r\nx\r\n", "e".repeat(bytes));
    let fits = chunk(1023) + "0\r\n\r\n";
    assert_eq!(decode(fits.as_bytes(), 999, 100), Ok((b"x".to_vec(), Some(fits.len()))));
    assert_eq!(decode(chunk(1024).as_bytes(), 999, 100), Err(400));
    assert_eq!(decode(chunk(1000).repeat(17).as_bytes(), 999, 100), Err(400));
    let trailer = |bytes: usize| format!("0\r\nA: {}\r\n\r\n", "t".repeat(bytes));
    assert!(decode(trailer(16_000).as_bytes(), 999, 100).is_ok());
    assert_eq!(decode(trailer(16_400).as_bytes(), 999, 100), Err(431));
    let many = format!("0\r\n{}\r\n", "A:\r\n".repeat(9000));
    assert_eq!(decode(many.as_bytes(), 999, 100), Err(431));
}

#[test]
fn a_decoder_is_small() {
    assert!(size_of::<Chunked>() <= 32);
}

fn some_body() -> impl Strategy<Value = Vec<u8>> {
    let chunk = (prop::collection::vec(any::<u8>(), 1..40), "(;[a-z=\" ]{0,8}){0,2}", any::<bool>());
    (prop::collection::vec(chunk, 0..5), prop::collection::vec("[A-Za-z]{1,5}:[ -~]{0,9}", 0..3)).prop_map(
        |(chunks, trailers)| {
            let mut body = Vec::new();
            for (data, extension, upper) in chunks {
                let size = if upper { format!("{:X}", data.len()) } else { format!("{:03x}", data.len()) };
                body.extend([size.as_bytes(), extension.as_bytes(), b"\r\n", &data, b"\r\n"].concat());
            }
            body.extend(b"0\r\n");
            for trailer in trailers {
                body.extend([trailer.as_bytes(), b"\r\n"].concat());
            }
            body.extend(b"\r\n");
            body
        },
    )
}

proptest! {
    #[test]
    fn equals_the_plain_twin_however_the_bytes_arrive(
        mut body in some_body(),
        after in "[A-Z]{0,4}",
        damage in prop::option::weighted(
            0.5,
            (any::<prop::sample::Index>(), prop::sample::select(b"\r\n 0;fx\0\t:".to_vec()), any::<bool>()),
        ),
        step in 1usize..30,
    ) {
        body.extend(after.as_bytes());
        if let Some((at, byte, insert)) = damage {
            let at = at.index(body.len());
            if insert { body.insert(at, byte) } else { body[at] = byte }
        }
        let whole = decode(&body, body.len(), 100);
        prop_assert_eq!(&decode(&body, 1, 100), &whole);
        prop_assert_eq!(&decode(&body, step, 100), &whole);
        // What is unfinished or refused is both an error to the twin, which sees the end of the text only.
        let complete = whole.ok().and_then(|(out, at)| at.map(|at| (out, at)));
        prop_assert_eq!(complete, decode_plainly(&body, 100).ok());
    }

    #[test]
    fn never_panics(input in "[0-9a-f\r\n;: \t]{0,40}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        for input in [input.as_bytes(), &bytes] {
            prop_assert_eq!(decode(input, 1, 50), decode(input, 60, 50));
        }
    }
}
