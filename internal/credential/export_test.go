package credential

// Digits returns the string of digits that a stands for, or an empty string.
func Digits(a Reading) string { return a.digits.Reveal() }

// KeyText returns the key that a stands for, or an empty string.
func KeyText(a Reading) string { return a.key.Reveal() }
