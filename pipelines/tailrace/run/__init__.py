"""One run: extract, build, plan, deliver, and the result that is reported."""
