"""What the tests of the AWS clients stand on: the real programs, a link to cut, callers of the API."""
