"""The model of result.json: what an audit says, part by part."""
