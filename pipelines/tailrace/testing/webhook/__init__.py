"""A receiver of webhooks that checks signatures and judges each element."""

from tailrace.testing.webhook.receiver import Delivery, WebhookReceiver

__all__ = ["Delivery", "WebhookReceiver"]
