"""Why a head answered as it did: shares of streams, moments of speech, words; and the same for a head that learned nothing."""
