// The page: a microphone over a websocket, a recording over one request; both give the same answers.
const query = location.search;
const { Timeline } = await import(`./drawing.js${query}`);

const settings = JSON.parse(document.body.dataset.settings);
const find = (id) => document.getElementById(id);
const timeline = new Timeline(find("timeline"), settings);
const LOG_ROWS = 300;
const FULL = 1 << 19; // bytes that wait to be sent: the server does not take them any more
let live = null;

document.documentElement.style.setProperty("--threshold", `${100 * settings.threshold}%`);
settings.classes.forEach((name, i) => {
  for (const item of document.querySelectorAll("[data-class]")) {
    if (item.dataset.class === name) item.style.setProperty("--own", settings.colours[i]);
  }
});

function say(state, text) {
  document.body.dataset.state = state;
  if (text) find("status").textContent = text;
  find("talk").textContent = state === "listening" ? "Stop" : "Start the microphone";
  off("talk", ["asking", "finishing", "uploading"].includes(state));
  off("choose", !["idle", "done", "error"].includes(state));
}

// Not "disabled": a button that is would lose the keyboard's focus
function off(id, value) {
  find(id).setAttribute("aria-disabled", String(value));
}

function press(id, action) {
  find(id).addEventListener("click", () => {
    if (find(id).getAttribute("aria-disabled") !== "true") action();
  });
}

const number = (value) => value.toFixed(2);
const seconds = (value) => `${value.toFixed(2)} s`;

function clear(length) {
  timeline.clear(length);
  find("log").replaceChildren();
  find("said").replaceChildren();
  if (find("words").dataset.end) find("words").textContent = "–";
  delete find("words").dataset.end;
  find("count").textContent = "0";
  find("behind").textContent = find("computing").textContent = "–";
  show({ start: 0, end: 0 }, "–", "Listening …");
}

function show(reply, label, detail) {
  if (find("label").textContent !== label) find("label").textContent = label; // else it would be read out again
  find("label").classList.toggle("none", !settings.classes.includes(label));
  find("detail").textContent = detail;
  for (const item of document.querySelectorAll("#bars li")) {
    const value = reply.posteriors?.[item.dataset.class];
    item.querySelector(".fill").style.width = `${100 * (value ?? 0)}%`;
    item.querySelector(".value").textContent = value === undefined ? "–" : number(value);
    item.classList.toggle("top", value !== undefined && item.dataset.class === reply.best);
  }
}

function answer(reply, behind) {
  const ranked = Object.entries(reply.posteriors ?? {}).sort((a, b) => b[1] - a[1]);
  if (reply.quiet) show(reply, "quiet", "This window is too quiet to predict.");
  else if (reply.error) show(reply, "no answer", reply.error);
  else if (reply.label === reply.best) show(reply, reply.label, `posterior ${number(reply.confidence)}, next ${ranked[1][0]} ${number(ranked[1][1])}`);
  else show(reply, reply.label, `perhaps ${reply.best} (${number(reply.confidence)}) or ${ranked[1][0]} (${number(ranked[1][1])})`);
  if (reply.text) hear(reply);
  if (behind !== null) find("behind").textContent = seconds(behind);
  if (reply.computing !== undefined) find("computing").textContent = seconds(reply.computing);
  timeline.answer(reply);
  const row = find("log").insertRow(0);
  const cells = [`${reply.start.toFixed(1)} – ${reply.end.toFixed(1)}`, find("label").textContent, reply.confidence ? number(reply.confidence) : "", reply.text ?? ""];
  for (const text of cells) row.insertCell().textContent = text;
  row.cells[2].className = "right";
  row.dataset.latency = behind ?? "";
  if (find("log").rows.length > LOG_ROWS) find("log").deleteRow(-1);
  find("count").textContent = String(Number(find("count").textContent) + 1);
  const last = find("label").textContent;
  find("timeline").setAttribute("aria-label", `${reply.end.toFixed(0)} seconds heard; the last answer is ${last}. The table below has all answers.`);
}

// The newest words large, those before them below
function hear(reply) {
  const words = find("words");
  if (words.dataset.end) {
    const before = document.createElement("li");
    before.textContent = `${words.dataset.end} s: ${words.textContent}`;
    find("said").prepend(before);
    if (find("said").children.length > 4) find("said").lastChild.remove();
  }
  words.textContent = reply.text;
  words.dataset.end = reply.end.toFixed(1);
}

async function start() {
  say("asking", "Waiting for the browser's permission …");
  const own = { samples: 0, marks: [], socket: null, context: null, tracks: [] };
  try {
    if (!navigator.mediaDevices) throw new Error("The browser allows a microphone only on pages of this machine or over HTTPS.");
    const media = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
    own.tracks = media.getTracks();
    let source;
    try {
      own.context = new AudioContext({ sampleRate: settings.rate });
      source = own.context.createMediaStreamSource(media);
    } catch { // Firefox does not convert a microphone's rate: the server will
      own.context = new AudioContext();
      source = own.context.createMediaStreamSource(media);
    }
    const rate = own.context.sampleRate;
    await own.context.audioWorklet.addModule(`page/microphone.js${query}`);
    own.socket = await connect(own, rate);
    const node = new AudioWorkletNode(own.context, "microphone", { numberOfOutputs: 0, processorOptions: { size: Math.round(rate / 10) } });
    node.port.onmessage = (event) => chunk(own, event.data, rate);
    source.connect(node);
    live = own;
    clear(null);
    say("listening", "Listening. Stop ends it.");
  } catch (error) {
    release(own);
    say("error", error.name === "NotAllowedError" ? "The browser did not allow the microphone." : error.message);
  }
}

function connect(own, rate) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${location.host}/live${query}`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(JSON.stringify({ type: "start", rate }));
    socket.onmessage = (event) => {
      const reply = JSON.parse(event.data);
      if (reply.type === "ready") resolve(socket);
      else if (reply.type === "window") answer(reply, lag(own, reply.end * rate)), skipped(reply);
      else if (reply.type === "done") own.done = true;
      else if (reply.type === "error") { own.problem = reply.error; reject(new Error(reply.error)); }
    };
    socket.onclose = () => {
      reject(new Error("The server refused the connection."));
      if (own !== live) return;
      live = null;
      release(own);
      if (own.done) say("done", `Done: ${(own.samples / rate).toFixed(1)} s heard.`);
      else say("error", own.problem ?? "The connection ended. Check that ser live still runs.");
    };
  });
}

function chunk(own, buffer, rate) {
  if (own.socket?.readyState !== WebSocket.OPEN || own.stopping) return;
  if (own.socket.bufferedAmount > FULL) { own.problem = "The server is too slow for the audio."; own.socket.close(); return; }
  const samples = new Int16Array(buffer);
  own.samples += samples.length;
  own.marks.push([own.samples, performance.now()]);
  if (own.marks.length > 2000) own.marks.shift();
  own.socket.send(buffer);
  timeline.voice(samples, rate);
}

// Seconds since the sample with this number was recorded
function lag(own, sample) {
  const mark = own.marks.find(([count]) => count >= Math.round(sample));
  return mark ? (performance.now() - mark[1]) / 1000 : null;
}

function skipped(reply) {
  if (reply.skipped) find("status").textContent = `${reply.skipped} windows were skipped because this computer is too slow. Use a longer --hop.`;
}

function stop() {
  if (!live) return;
  live.stopping = true;
  say("finishing", "The last words …");
  live.socket.send(JSON.stringify({ type: "stop" }));
  release(live, false);
}

function release(own, close = true) {
  for (const track of own.tracks) track.stop();
  if (own.context && own.context.state !== "closed") own.context.close();
  if (close) own.socket?.close();
}

async function upload(file) {
  say("uploading", `Reading ${file.name} …`);
  try {
    const response = await fetch(`upload${query}`, { method: "POST", body: file });
    if (!response.ok) throw new Error((await response.json()).error);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) uploaded(JSON.parse(line), file.name);
    }
  } catch (error) {
    say("error", `${file.name}: ${error.message}`);
  }
}

function uploaded(reply, name) {
  if (reply.type === "file") {
    clear(reply.seconds);
    timeline.outline(reply.outline, reply.seconds);
  } else if (reply.type === "window") answer(reply, null);
  else if (reply.type === "done") say("done", `${name}: ${reply.seconds.toFixed(1)} s.`);
}

press("talk", () => (live ? stop() : start()));
press("choose", () => find("file").click());
find("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (file) upload(file);
});
say("idle");
