"""What programs that were written for other systems say, as scalems' own envelopes."""
