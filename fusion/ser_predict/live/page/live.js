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

function show(told, label, detail) {
  if (find("label").textContent !== label) find("label").textContent = label; // else it would be read out again
  find("label").classList.toggle("none", !settings.classes.includes(label));
  find("detail").textContent = detail;
  for (const item of document.querySelectorAll("#bars li")) {
    const value = told.posteriors?.[item.dataset.class];
    item.querySelector(".fill").style.width = `${100 * (value ?? 0)}%`;
    item.querySelector(".value").textContent = value === undefined ? "–" : number(value);
    item.classList.toggle("top", value !== undefined && item.dataset.class === told.best);
  }
}

function answer(told, behind) {
  const ranked = Object.entries(told.posteriors ?? {}).sort((a, b) => b[1] - a[1]);
  if (told.quiet) show(told, "quiet", "No voice in this window, so no head was asked.");
  else if (told.error) show(told, "no answer", told.error);
  else if (told.label === told.best) show(told, told.label, `posterior ${number(told.confidence)}, next ${ranked[1][0]} ${number(ranked[1][1])}`);
  else show(told, told.label, `perhaps ${told.best} (${number(told.confidence)}) or ${ranked[1][0]} (${number(ranked[1][1])})`);
  if (told.text) hear(told);
  if (behind !== null) find("behind").textContent = seconds(behind);
  if (told.computing !== undefined) find("computing").textContent = seconds(told.computing);
  timeline.answer(told);
  const row = find("log").insertRow(0);
  const cells = [`${told.start.toFixed(1)} – ${told.end.toFixed(1)}`, find("label").textContent, told.confidence ? number(told.confidence) : "", told.text ?? ""];
  for (const text of cells) row.insertCell().textContent = text;
  row.cells[2].className = "right";
  row.dataset.latency = behind ?? "";
  if (find("log").rows.length > LOG_ROWS) find("log").deleteRow(-1);
  find("count").textContent = String(Number(find("count").textContent) + 1);
  const last = find("label").textContent;
  find("timeline").setAttribute("aria-label", `${told.end.toFixed(0)} seconds heard; the last answer is ${last}. All answers stand in the table below.`);
}

// The newest words large, those before them below
function hear(told) {
  const words = find("words");
  if (words.dataset.end) {
    const before = document.createElement("li");
    before.textContent = `${words.dataset.end} s: ${words.textContent}`;
    find("said").prepend(before);
    if (find("said").children.length > 4) find("said").lastChild.remove();
  }
  words.textContent = told.text;
  words.dataset.end = told.end.toFixed(1);
}

async function start() {
  say("asking", "Waiting for the browser's permission …");
  const own = { samples: 0, marks: [], socket: null, context: null, tracks: [] };
  try {
    if (!navigator.mediaDevices) throw new Error("The browser gives a microphone only to pages of this machine or over HTTPS.");
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
      const told = JSON.parse(event.data);
      if (told.type === "ready") resolve(socket);
      else if (told.type === "window") answer(told, lag(own, told.end * rate)), skipped(told);
      else if (told.type === "done") own.done = true;
      else if (told.type === "error") { own.problem = told.error; reject(new Error(told.error)); }
    };
    socket.onclose = () => {
      reject(new Error("The server refused the connection."));
      if (own !== live) return;
      live = null;
      release(own);
      if (own.done) say("done", `Done: ${(own.samples / rate).toFixed(1)} s heard.`);
      else say("error", own.problem ?? "The connection is gone; is ser live still running?");
    };
  });
}

function chunk(own, buffer, rate) {
  if (own.socket?.readyState !== WebSocket.OPEN || own.stopping) return;
  if (own.socket.bufferedAmount > FULL) { own.problem = "The server does not take the audio fast enough."; own.socket.close(); return; }
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

function skipped(told) {
  if (told.skipped) find("status").textContent = `${told.skipped} windows were left out: this computer answers more slowly than they come. A longer --hop helps.`;
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

function uploaded(told, name) {
  if (told.type === "file") {
    clear(told.seconds);
    timeline.outline(told.outline, told.seconds);
  } else if (told.type === "window") answer(told, null);
  else if (told.type === "done") say("done", `${name}: ${told.seconds.toFixed(1)} s.`);
}

press("talk", () => (live ? stop() : start()));
press("choose", () => find("file").click());
find("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (file) upload(file);
});
say("idle");
