// The lamp page with autobahn-js: follows `lamp.changed`, calls `lamp.get` and `lamp.set`.
"use strict";

const lamp = document.getElementById("lamp");
const button = document.getElementById("switch");
const state = document.getElementById("state");
const query = new URLSearchParams(location.search);
const connection = new autobahn.Connection({
  url: query.get("url") || `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`,
  realm: query.get("realm") || "realm1",
  initial_retry_delay: 0.5,
  max_retry_delay: 5,
  max_retries: -1,
});

function show(on) {
  lamp.dataset.on = String(on);
  lamp.setAttribute("aria-label", on ? "The lamp is on" : "The lamp is off");
  button.setAttribute("aria-checked", String(on));
  button.disabled = false;
  state.textContent = on ? "the lamp is on" : "the lamp is off";
}

function fail(error) {
  state.textContent = error.error || String(error);
}

connection.onopen = async (session) => {
  let heard = false; // an event that comes before the answer of lamp.get is newer than it
  try {
    await session.subscribe("lamp.changed", ([on]) => {
      heard = true;
      show(on);
    });
    const on = await session.call("lamp.get");
    if (!heard) show(on);
  } catch (error) {
    fail(error);
  }
  button.onclick = () => session.call("lamp.set", [lamp.dataset.on !== "true"]).then(show, fail);
};

connection.onclose = (reason) => {
  button.disabled = true;
  state.textContent = `not connected: ${reason}`;
  return false; // let autobahn try again
};

connection.open();
