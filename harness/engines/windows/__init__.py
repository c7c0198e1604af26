"""Live sessions for engines that transcribe whole utterances."""
