package token

// knownPattern returns the scanner of a pattern that needs no regular expression, nil for any other.
func knownPattern(pattern string) *scanner {
	switch pattern {
	case patternGPT2:
		return &scanner{next: (*scanner).nextGPT2, plane: planeClasses()}
	}
	return nil
}

const patternGPT2 = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
