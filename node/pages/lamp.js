// The lamp page: follows `lamp.changed`, calls `lamp.get` and `lamp.set`.
//
// It needs nothing but a browser. The WAMP client below speaks wamp.2.json over WebSocket, as much of it as this page uses.
// ?url=ws://host:port/ws and ?realm=name choose another router or realm.
"use strict";

/** One WAMP session. `onClose` is called once, whether it was established or not. */
class Session {
  constructor(url, realm, { onOpen, onClose }) {
    this.lastRequest = 0;
    this.pending = new Map(); // request id -> { resolve, reject }
    this.handlers = new Map(); // subscription id -> handler
    this.socket = new WebSocket(url, ["wamp.2.json"]);
    this.socket.onopen = () => this.send([1, realm, { agent: "ringfort-lamp", roles: { caller: {}, subscriber: {} } }]);
    this.socket.onmessage = (frame) => this.receive(JSON.parse(frame.data), onOpen);
    this.socket.onclose = () => {
      for (const { reject } of this.pending.values()) reject(new Error("the connection was lost"));
      this.pending.clear();
      onClose(this.reason);
    };
  }

  call(procedure, args) {
    return this.request((id) => [48, id, {}, procedure, args]).then((message) => (message[3] || [])[0]);
  }

  subscribe(topic, handler) {
    return this.request((id) => [32, id, {}, topic], (message) => this.handlers.set(message[2], handler));
  }

  close() {
    this.socket.close();
  }

  /** Sends a request; `accept` sees its answer before any later message is handled. */
  request(build, accept = () => {}) {
    return new Promise((resolve, reject) => {
      const id = ++this.lastRequest;
      this.pending.set(id, { resolve: (message) => { accept(message); resolve(message); }, reject });
      this.send(build(id));
    });
  }

  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  receive(message, onOpen) {
    switch (message[0]) {
      case 2: // WELCOME
        return onOpen(this);
      case 3: // ABORT
        this.reason = message[2];
        return this.close();
      case 6: // GOODBYE
        this.reason = message[2];
        this.send([6, {}, "wamp.close.goodbye_and_out"]);
        return this.close();
      case 8: { // ERROR
        const error = new Error((message[5] || [])[0] || message[4]);
        error.uri = message[4];
        return this.settle(message[2], (request) => request.reject(error));
      }
      case 33: // SUBSCRIBED
      case 50: // RESULT
        return this.settle(message[1], (request) => request.resolve(message));
      case 36: { // EVENT
        const handler = this.handlers.get(message[1]);
        return handler && handler(message[4] || []);
      }
    }
  }

  settle(id, how) {
    const request = this.pending.get(id);
    this.pending.delete(id);
    if (request) how(request);
  }
}

const lamp = document.getElementById("lamp");
const button = document.getElementById("switch");
const stateText = document.getElementById("state");
const query = new URLSearchParams(location.search);
const url = query.get("url") || `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`;
const realm = query.get("realm") || "realm1";
const PAUSE_MIN_MS = 250;
const PAUSE_MAX_MS = 5000;
const ASK_AGAIN_MS = 2000;

let session = null;
let known = false; // whether the lamp's state is known
let pause = PAUSE_MIN_MS;

document.getElementById("node").textContent = new URL(url).host;

function showState(state, text) {
  stateText.dataset.state = state;
  stateText.textContent = text;
  button.disabled = state !== "connected";
}

function showLamp(on) {
  known = true;
  lamp.dataset.on = String(on);
  lamp.setAttribute("aria-label", on ? "The lamp is on" : "The lamp is off");
  button.setAttribute("aria-checked", String(on));
  button.textContent = on ? "Switch off" : "Switch on";
  showState("connected", on ? "connected, the lamp is on" : "connected, the lamp is off");
}

/** Asks for the lamp's state until it is known; an event that comes meanwhile is newer than the answer. */
async function ask(current) {
  while (session === current && !known) {
    try {
      const on = await current.call("lamp.get", []);
      if (session === current && !known) showLamp(on === true);
    } catch (error) {
      if (session !== current || known) return;
      showState("no-lamp", error.uri === "wamp.error.no_such_procedure" ? "connected, but there is no lamp" : error.message);
      await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS));
    }
  }
}

async function opened(current) {
  session = current;
  known = false;
  pause = PAUSE_MIN_MS;
  try {
    await current.subscribe("lamp.changed", (args) => showLamp(args[0] === true));
  } catch (error) {
    showState("refused", error.message);
    return;
  }
  ask(current);
}

function closed(reason) {
  session = null;
  showState("offline", reason ? `not connected: ${reason}` : "not connected, trying again");
  setTimeout(connect, pause);
  pause = Math.min(pause * 2, PAUSE_MAX_MS);
}

function connect() {
  showState("connecting", "connecting");
  new Session(url, realm, { onOpen: opened, onClose: closed });
}

button.addEventListener("click", async () => {
  const current = session;
  if (!current) return;
  const wanted = lamp.dataset.on !== "true";
  button.disabled = true;
  try {
    const on = await current.call("lamp.set", [wanted]);
    if (session === current) showLamp(on === true);
  } catch (error) {
    if (session !== current) return;
    known = false;
    showState("no-lamp", error.message);
    ask(current);
  }
});

connect();
