"""Error messages in the language of the user's profile; error codes do not change."""

from __future__ import annotations

_GERMAN = {
    "INVALID_FIELD": "Eine solche Spalte ist für diese Entität nicht vorhanden.",
    "INVALID_TYPE": "Der sObject-Typ wird nicht unterstützt.",
    "INVALID_TYPE_FOR_OPERATION": "Dieser Entitätstyp unterstützt den Vorgang nicht.",
    "INVALID_SESSION_ID": "Sitzung abgelaufen oder ungültig",
    "INVALID_QUERY_LOCATOR": "Ungültiger Abfragelokator",
    "MALFORMED_QUERY": "Die Abfrage ist fehlerhaft.",
    "NOT_FOUND": "Die angeforderte Ressource ist nicht vorhanden.",
    "REQUEST_LIMIT_EXCEEDED": "TotalRequests-Grenzwert überschritten.",
    "LIMIT_EXCEEDED": "Der Grenzwert für die letzten 24 Stunden wurde überschritten.",
    "QUERY_TIMEOUT": "Die Ausführung der Abfrage hat zu lange gedauert.",
    "OPERATION_TOO_LARGE": "Der Vorgang ist zu umfangreich.",
    "INVALIDENTITY": "Diese Entität wird von der Bulk-API nicht unterstützt.",
}
_JAPANESE = {
    "INVALID_FIELD": "エンティティにそのような列はありません。",
    "INVALID_TYPE": "sObject 型はサポートされていません。",
    "INVALID_TYPE_FOR_OPERATION": "このエンティティ型はこの操作をサポートしていません。",
    "INVALID_SESSION_ID": "セッションの期限が切れているか、無効です",
    "INVALID_QUERY_LOCATOR": "クエリロケータが無効です",
    "QUERY_TIMEOUT": "クエリの実行時間が長すぎます。",
    "OPERATION_TOO_LARGE": "操作が大きすぎます。",
}
_MESSAGES = {"de": _GERMAN, "ja": _JAPANESE}
_UNKNOWN = {
    "de": "Ein unerwarteter Fehler ist aufgetreten.",
    "ja": "予期しないエラーが発生しました。",
}


def localized(code: str, message: str, language: str) -> str:
    """The message for an error code in a language; English messages are returned unchanged."""
    if language not in _MESSAGES:
        return message
    return _MESSAGES[language].get(code, _UNKNOWN[language])


def localized_job_error(message: str, language: str) -> str:
    """A job's `CODE: message` with the message in a language."""
    code, separator, text = message.partition(": ")
    return f"{code}{separator}{localized(code, text, language)}" if separator else message
