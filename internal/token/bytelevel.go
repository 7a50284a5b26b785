package token

// maxAlphabet bounds the code points of the byte-level alphabet: the 68 bytes without a visible Latin-1 character are
// written as U+0100 to U+0143.
const maxAlphabet = 0x144

// byteRunes gives the character that stands for each byte in a tokenizer file (GPT-2's bytes_to_unicode).
var byteRunes = func() (runes [256]rune) {
	next := rune(0x100)
	for b := range runes {
		if b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE {
			runes[b] = rune(b)
			continue
		}
		runes[b] = next
		next++
	}
	return runes
}()

// runeBytes is the inverse of byteRunes; -1 where a character stands for no byte.
var runeBytes = func() (inverse [maxAlphabet]int16) {
	for i := range inverse {
		inverse[i] = -1
	}
	for b, r := range byteRunes {
		inverse[r] = int16(b)
	}
	return inverse
}()

// appendByteLevel appends the bytes that the byte-level text stands for, and reports false where a character is outside the
// alphabet (then dst is returned unchanged).
func appendByteLevel(dst []byte, text string) ([]byte, bool) {
	n := len(dst)
	for _, r := range text {
		if r >= maxAlphabet || runeBytes[r] < 0 {
			return dst[:n], false
		}
		dst = append(dst, byte(runeBytes[r]))
	}
	return dst, true
}
