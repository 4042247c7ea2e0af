"""A receiver of webhooks that checks signatures and returns a verdict per element."""

from tailrace.testing.webhook.receiver import Delivery, WebhookReceiver

__all__ = ["Delivery", "WebhookReceiver"]
