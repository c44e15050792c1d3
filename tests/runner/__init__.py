"""Tests of the runners: one suite for what all of them promise, and one each for what only one does."""
