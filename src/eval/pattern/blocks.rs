//! The named blocks (`\p{IsGreek}`) and general categories that .NET knows.

use super::syntax::Item;

/// The items of `\p{name}`; names are case-sensitive. With `fold`, `Lu`, `Ll` and `Lt` are one.
pub(super) fn property(name: &str, negated: bool, fold: bool) -> Option<Vec<Item>> {
    if let Ok(at) = BLOCKS.binary_search_by_key(&name, |(name, ..)| name) {
        let (_, first, last) = BLOCKS[at];
        let range = Item::Range(first, last);
        return Some(if negated { complement(first, last) } else { vec![range] });
    }
    let class = match name {
        "Ll" | "Lt" | "Lu" if fold => r"\p{Ll}\p{Lt}\p{Lu}",
        _ => CATEGORIES.iter().find(|(category, _)| *category == name)?.1,
    };
    Some(vec![Item::Class { class, negated }])
}

/// Everything but one block.
fn complement(first: char, last: char) -> Vec<Item> {
    // Stepping over the surrogates, as iterating over `char`s does.
    let below = ('\0'..first).next_back().map(|before| Item::Range('\0', before));
    let above = (last..=char::MAX).nth(1).map(|after| Item::Range(after, char::MAX));
    below.into_iter().chain(above).collect()
}

/// General categories. `Cs` is missing: no text that reaches the agent holds halves of surrogate pairs.
const CATEGORIES: [(&str, &str); 36] = [
    ("C", r"\p{C}"),
    ("Cc", r"\p{Cc}"),
    ("Cf", r"\p{Cf}"),
    ("Cn", r"\p{Cn}"),
    ("Co", r"\p{Co}"),
    ("L", r"\p{L}"),
    ("Ll", r"\p{Ll}"),
    ("Lm", r"\p{Lm}"),
    ("Lo", r"\p{Lo}"),
    ("Lt", r"\p{Lt}"),
    ("Lu", r"\p{Lu}"),
    ("M", r"\p{M}"),
    ("Mc", r"\p{Mc}"),
    ("Me", r"\p{Me}"),
    ("Mn", r"\p{Mn}"),
    ("N", r"\p{N}"),
    ("Nd", r"\p{Nd}"),
    ("Nl", r"\p{Nl}"),
    ("No", r"\p{No}"),
    ("P", r"\p{P}"),
    ("Pc", r"\p{Pc}"),
    ("Pd", r"\p{Pd}"),
    ("Pe", r"\p{Pe}"),
    ("Pf", r"\p{Pf}"),
    ("Pi", r"\p{Pi}"),
    ("Po", r"\p{Po}"),
    ("Ps", r"\p{Ps}"),
    ("S", r"\p{S}"),
    ("Sc", r"\p{Sc}"),
    ("Sk", r"\p{Sk}"),
    ("Sm", r"\p{Sm}"),
    ("So", r"\p{So}"),
    ("Z", r"\p{Z}"),
    ("Zl", r"\p{Zl}"),
    ("Zp", r"\p{Zp}"),
    ("Zs", r"\p{Zs}"),
];

/// .NET's named blocks, by name. Those of surrogates are left out as `Cs` is.
#[rustfmt::skip]
const BLOCKS: [(&str, char, char); 105] = [
    ("IsAlphabeticPresentationForms", '\u{fb00}', '\u{fb4f}'),
    ("IsArabic", '\u{600}', '\u{6ff}'),
    ("IsArabicPresentationForms-A", '\u{fb50}', '\u{fdff}'),
    ("IsArabicPresentationForms-B", '\u{fe70}', '\u{feff}'),
    ("IsArmenian", '\u{530}', '\u{58f}'),
    ("IsArrows", '\u{2190}', '\u{21ff}'),
    ("IsBasicLatin", '\u{0}', '\u{7f}'),
    ("IsBengali", '\u{980}', '\u{9ff}'),
    ("IsBlockElements", '\u{2580}', '\u{259f}'),
    ("IsBopomofo", '\u{3100}', '\u{312f}'),
    ("IsBopomofoExtended", '\u{31a0}', '\u{31bf}'),
    ("IsBoxDrawing", '\u{2500}', '\u{257f}'),
    ("IsBraillePatterns", '\u{2800}', '\u{28ff}'),
    ("IsBuhid", '\u{1740}', '\u{175f}'),
    ("IsCJKCompatibility", '\u{3300}', '\u{33ff}'),
    ("IsCJKCompatibilityForms", '\u{fe30}', '\u{fe4f}'),
    ("IsCJKCompatibilityIdeographs", '\u{f900}', '\u{faff}'),
    ("IsCJKRadicalsSupplement", '\u{2e80}', '\u{2eff}'),
    ("IsCJKSymbolsandPunctuation", '\u{3000}', '\u{303f}'),
    ("IsCJKUnifiedIdeographs", '\u{4e00}', '\u{9fff}'),
    ("IsCJKUnifiedIdeographsExtensionA", '\u{3400}', '\u{4dbf}'),
    ("IsCherokee", '\u{13a0}', '\u{13ff}'),
    ("IsCombiningDiacriticalMarks", '\u{300}', '\u{36f}'),
    ("IsCombiningDiacriticalMarksforSymbols", '\u{20d0}', '\u{20ff}'),
    ("IsCombiningHalfMarks", '\u{fe20}', '\u{fe2f}'),
    ("IsCombiningMarksforSymbols", '\u{20d0}', '\u{20ff}'),
    ("IsControlPictures", '\u{2400}', '\u{243f}'),
    ("IsCurrencySymbols", '\u{20a0}', '\u{20cf}'),
    ("IsCyrillic", '\u{400}', '\u{4ff}'),
    ("IsCyrillicSupplement", '\u{500}', '\u{52f}'),
    ("IsDevanagari", '\u{900}', '\u{97f}'),
    ("IsDingbats", '\u{2700}', '\u{27bf}'),
    ("IsEnclosedAlphanumerics", '\u{2460}', '\u{24ff}'),
    ("IsEnclosedCJKLettersandMonths", '\u{3200}', '\u{32ff}'),
    ("IsEthiopic", '\u{1200}', '\u{137f}'),
    ("IsGeneralPunctuation", '\u{2000}', '\u{206f}'),
    ("IsGeometricShapes", '\u{25a0}', '\u{25ff}'),
    ("IsGeorgian", '\u{10a0}', '\u{10ff}'),
    ("IsGreek", '\u{370}', '\u{3ff}'),
    ("IsGreekExtended", '\u{1f00}', '\u{1fff}'),
    ("IsGreekandCoptic", '\u{370}', '\u{3ff}'),
    ("IsGujarati", '\u{a80}', '\u{aff}'),
    ("IsGurmukhi", '\u{a00}', '\u{a7f}'),
    ("IsHalfwidthandFullwidthForms", '\u{ff00}', '\u{ffef}'),
    ("IsHangulCompatibilityJamo", '\u{3130}', '\u{318f}'),
    ("IsHangulJamo", '\u{1100}', '\u{11ff}'),
    ("IsHangulSyllables", '\u{ac00}', '\u{d7af}'),
    ("IsHanunoo", '\u{1720}', '\u{173f}'),
    ("IsHebrew", '\u{590}', '\u{5ff}'),
    ("IsHiragana", '\u{3040}', '\u{309f}'),
    ("IsIPAExtensions", '\u{250}', '\u{2af}'),
    ("IsIdeographicDescriptionCharacters", '\u{2ff0}', '\u{2fff}'),
    ("IsKanbun", '\u{3190}', '\u{319f}'),
    ("IsKangxiRadicals", '\u{2f00}', '\u{2fdf}'),
    ("IsKannada", '\u{c80}', '\u{cff}'),
    ("IsKatakana", '\u{30a0}', '\u{30ff}'),
    ("IsKatakanaPhoneticExtensions", '\u{31f0}', '\u{31ff}'),
    ("IsKhmer", '\u{1780}', '\u{17ff}'),
    ("IsKhmerSymbols", '\u{19e0}', '\u{19ff}'),
    ("IsLao", '\u{e80}', '\u{eff}'),
    ("IsLatin-1Supplement", '\u{80}', '\u{ff}'),
    ("IsLatinExtended-A", '\u{100}', '\u{17f}'),
    ("IsLatinExtended-B", '\u{180}', '\u{24f}'),
    ("IsLatinExtendedAdditional", '\u{1e00}', '\u{1eff}'),
    ("IsLetterlikeSymbols", '\u{2100}', '\u{214f}'),
    ("IsLimbu", '\u{1900}', '\u{194f}'),
    ("IsMalayalam", '\u{d00}', '\u{d7f}'),
    ("IsMathematicalOperators", '\u{2200}', '\u{22ff}'),
    ("IsMiscellaneousMathematicalSymbols-A", '\u{27c0}', '\u{27ef}'),
    ("IsMiscellaneousMathematicalSymbols-B", '\u{2980}', '\u{29ff}'),
    ("IsMiscellaneousSymbols", '\u{2600}', '\u{26ff}'),
    ("IsMiscellaneousSymbolsandArrows", '\u{2b00}', '\u{2bff}'),
    ("IsMiscellaneousTechnical", '\u{2300}', '\u{23ff}'),
    ("IsMongolian", '\u{1800}', '\u{18af}'),
    ("IsMyanmar", '\u{1000}', '\u{109f}'),
    ("IsNumberForms", '\u{2150}', '\u{218f}'),
    ("IsOgham", '\u{1680}', '\u{169f}'),
    ("IsOpticalCharacterRecognition", '\u{2440}', '\u{245f}'),
    ("IsOriya", '\u{b00}', '\u{b7f}'),
    ("IsPhoneticExtensions", '\u{1d00}', '\u{1d7f}'),
    ("IsPrivateUse", '\u{e000}', '\u{f8ff}'),
    ("IsPrivateUseArea", '\u{e000}', '\u{f8ff}'),
    ("IsRunic", '\u{16a0}', '\u{16ff}'),
    ("IsSinhala", '\u{d80}', '\u{dff}'),
    ("IsSmallFormVariants", '\u{fe50}', '\u{fe6f}'),
    ("IsSpacingModifierLetters", '\u{2b0}', '\u{2ff}'),
    ("IsSpecials", '\u{fff0}', '\u{ffff}'),
    ("IsSuperscriptsandSubscripts", '\u{2070}', '\u{209f}'),
    ("IsSupplementalArrows-A", '\u{27f0}', '\u{27ff}'),
    ("IsSupplementalArrows-B", '\u{2900}', '\u{297f}'),
    ("IsSupplementalMathematicalOperators", '\u{2a00}', '\u{2aff}'),
    ("IsSyriac", '\u{700}', '\u{74f}'),
    ("IsTagalog", '\u{1700}', '\u{171f}'),
    ("IsTagbanwa", '\u{1760}', '\u{177f}'),
    ("IsTaiLe", '\u{1950}', '\u{197f}'),
    ("IsTamil", '\u{b80}', '\u{bff}'),
    ("IsTelugu", '\u{c00}', '\u{c7f}'),
    ("IsThaana", '\u{780}', '\u{7bf}'),
    ("IsThai", '\u{e00}', '\u{e7f}'),
    ("IsTibetan", '\u{f00}', '\u{fff}'),
    ("IsUnifiedCanadianAboriginalSyllabics", '\u{1400}', '\u{167f}'),
    ("IsVariationSelectors", '\u{fe00}', '\u{fe0f}'),
    ("IsYiRadicals", '\u{a490}', '\u{a4cf}'),
    ("IsYiSyllables", '\u{a000}', '\u{a48f}'),
    ("IsYijingHexagramSymbols", '\u{4dc0}', '\u{4dff}'),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_sorted_by_name_and_not_empty() {
        assert!(BLOCKS.is_sorted_by(|left, right| left.0 < right.0));
        assert!(BLOCKS.iter().all(|(_, first, last)| first < last));
        for (name, ..) in BLOCKS {
            assert!(property(name, false, false).is_some(), "{name}");
        }
    }

    #[test]
    fn the_complement_of_a_block_leaves_out_the_block_alone() {
        assert_eq!(
            property("IsGreek", true, false),
            Some(vec![Item::Range('\0', '\u{36f}'), Item::Range('\u{400}', char::MAX)])
        );
        assert_eq!(
            property("IsPrivateUse", true, false),
            Some(vec![Item::Range('\0', '\u{d7ff}'), Item::Range('\u{f900}', char::MAX)])
        );
        assert_eq!(property("IsBasicLatin", true, false), Some(vec![Item::Range('\u{80}', char::MAX)]));
    }

    #[test]
    fn names_are_case_sensitive_and_scripts_unknown() {
        for name in ["lu", "Letter", "Greek", "isGreek", "Cs", "", "__InternalRegexIgnoreCase__"] {
            assert_eq!(property(name, false, false), None, "{name}");
        }
    }
}
