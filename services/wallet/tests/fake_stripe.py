"""A Stripe of a few lines over loopback: checkout sessions, payment intents, idempotency keys, signed webhooks."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

API_KEY = "sk_test_the_sellers"
WEBHOOK_SECRET = "whsec_the_sellers"
EXPIRES_AT = 32_472_144_000


@dataclass
class FakeStripe:
    """What it knows. `trouble` answers the next requests with that status instead, after it has done the work."""

    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    intents: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    trouble: list[int] = field(default_factory=list)
    url: str = ""
    lock: Lock = field(default_factory=Lock)

    def pay(self, session_id: str) -> dict[str, Any]:
        """The buyer pays on the checkout page; gives the session."""
        session = self.sessions[session_id]
        intent = self._intent(session["amount_total"], session["currency"], session["metadata"])
        session.update(status="complete", payment_status="paid", payment_intent=intent["id"])
        return session

    def save(self, session_id: str, last4: str = "4242") -> dict[str, Any]:
        """The buyer saves a card on the setup page; gives the session."""
        session = self.sessions[session_id]
        method = {
            "id": f"pm_{uuid4().hex}",
            "object": "payment_method",
            "type": "card",
            "card": {"brand": "visa", "last4": last4, "exp_month": 8, "exp_year": 2030},
        }
        intent = {"id": f"seti_{uuid4().hex}", "object": "setup_intent", "payment_method": method}
        session.update(status="complete", customer=f"cus_{uuid4().hex}", setup_intent=intent)
        return session

    def answer(self, verb: str, path: str, form: dict[str, str], key: str) -> tuple[int, dict[str, Any]]:
        """What Stripe would say; the same idempotency key gets the same answer."""
        with self.lock:
            self.requests.append((verb, path, form))
            if key not in self.answers or not key:
                # As it is now: what is sent again later is what was said then.
                status, thing = self._answer(verb, path, form)
                self.answers[key] = status, dict(thing)
            if self.trouble:
                return self.trouble.pop(), {"error": {"type": "api_error", "message": "trouble"}}
            return self.answers[key]

    def _answer(self, verb: str, path: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        resource, _, id_ = path.removeprefix("/v1/").partition("sessions/")
        if verb == "POST" and id_.endswith("/expire"):
            return self._expire(id_.removesuffix("/expire"))
        if verb == "GET" and resource == "checkout/":
            session = dict(self.sessions[id_])
            if form.get("expand[0]") != "setup_intent.payment_method" and isinstance(session["setup_intent"], dict):
                session["setup_intent"] = session["setup_intent"]["id"]
            return 200, session
        if verb == "GET":
            return 200, self.intents[path.rpartition("/")[2]]
        metadata = {key[9:-1]: value for key, value in form.items() if key.startswith("metadata[")}
        if path == "/v1/checkout/sessions":
            return 200, self._session(form, metadata)
        if form["payment_method"].startswith("pm_declined"):
            # pm_declined_CODE, of https://docs.stripe.com/declines/codes
            error = {"type": "card_error", "code": "card_declined", "message": "Your card was declined."}
            decline_code = form["payment_method"].removeprefix("pm_declined").strip("_")
            return 402, {"error": error | ({"decline_code": decline_code} if decline_code else {})}
        return 200, self._intent(int(form["amount"]), form["currency"], metadata)

    def _expire(self, session_id: str) -> tuple[int, dict[str, Any]]:
        session = self.sessions[session_id]
        if session["status"] != "open":
            return 400, {"error": {"type": "invalid_request_error", "message": "This session is not open."}}
        session["status"] = "expired"
        return 200, dict(session)

    def _session(self, form: dict[str, str], metadata: dict[str, str]) -> dict[str, Any]:
        session = {
            "id": f"cs_test_{uuid4().hex}",
            "object": "checkout.session",
            "mode": form["mode"],
            "status": "open",
            "payment_status": "unpaid",
            "amount_total": int(form.get("line_items[0][price_data][unit_amount]", 0)),
            "currency": form.get("line_items[0][price_data][currency]", form.get("currency")),
            "customer": None,
            "setup_intent": None,
            "payment_intent": None,
            "metadata": metadata,
            "expires_at": EXPIRES_AT,
        }
        session["url"] = f"https://checkout.example/{session['id']}"
        self.sessions[str(session["id"])] = session
        return session

    def _intent(self, amount: int, currency: str, metadata: dict[str, str]) -> dict[str, Any]:
        intent = {
            "id": f"pi_{uuid4().hex}",
            "object": "payment_intent",
            "amount": amount,
            "amount_received": amount,
            "currency": currency,
            "status": "succeeded",
            "metadata": metadata,
        }
        self.intents[str(intent["id"])] = intent
        return intent


def event(kind: str, thing: dict[str, Any], event_id: str = "") -> bytes:
    """A webhook's body."""
    body = {"id": event_id or f"evt_{uuid4().hex}", "object": "event", "type": kind, "data": {"object": thing}}
    return json.dumps(body).encode()


def signed(payload: bytes, secret: str = WEBHOOK_SECRET, age_s: int = 0) -> str:
    """The header Stripe-Signature, as https://docs.stripe.com/webhooks#verify-manually says."""
    at = int(time.time()) - age_s
    signature = hmac.new(secret.encode(), f"{at}.".encode() + payload, hashlib.sha256).hexdigest()
    return f"t={at},v1={signature}"


@contextmanager
def fake_stripe() -> Iterator[FakeStripe]:
    """A Stripe that listens on loopback within the block."""
    fake = FakeStripe()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            form = dict(parse_qsl(query or body))
            if self.headers["Authorization"] != f"Bearer {API_KEY}":
                status, answer = 401, {"error": {"message": f"Invalid API Key: {self.headers['Authorization']}"}}
            else:
                status, answer = fake.answer(self.command, path, form, self.headers["Idempotency-Key"] or "")
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()
