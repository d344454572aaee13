// What the pages do beyond HTML. Everything works without it, with times in UTC.
"use strict";
(() => {
  const each = (selector, act, root = document) => root.querySelectorAll(selector).forEach(act);
  const one = (selector, root = document) => root.querySelector(selector);

  // Times in the zone of the reader, with UTC on hover.
  const long = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const short = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
  const minute = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
  const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const span = (seconds) => {
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
    return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds / 3600) % 24} h`;
  };
  // What counts down changes every second; an age every minute, but for young ones.
  const showTime = (element) => {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) return 0;
    if (!element.title) element.title = element.textContent;
    const seconds = Math.round((Date.now() - at) / 1000);
    let text;
    if ("age" in element.dataset) text = seconds < 1 ? "now" : span(seconds) + (element.dataset.age ? " ago" : "");
    else if ("countdown" in element.dataset) text = seconds >= 0 ? "now" : `in ${span(-seconds)}`;
    else if ("minute" in element.dataset) text = at.toDateString() === new Date().toDateString() ? minute.format(at) : `${day.format(at)}, ${minute.format(at)}`;
    else text = at.toDateString() === new Date().toDateString() ? short.format(at) : long.format(at);
    if (element.textContent !== text) element.textContent = text;
    return "age" in element.dataset || "countdown" in element.dataset ? Math.abs(seconds) : 0;
  };
  const showTimes = (root = document) => each("time[datetime]", showTime, root);
  let ticking;
  const tick = () => {
    clearTimeout(ticking);
    if (document.hidden) return;
    let nearest = Infinity;
    each("time[data-age], time[data-countdown]", (element) => { nearest = Math.min(nearest, showTime(element)); });
    if (nearest < Infinity) ticking = setTimeout(tick, nearest < 120 ? 1000 : 30000);
  };

  const prepare = (root = document) => {
    showTimes(root);
    each("button[data-copy]", (button) => { button.hidden = !navigator.clipboard; }, root);
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });

  // A notice is shown once; the address of the page is the one to share.
  const address = new URL(location);
  if (address.searchParams.has("notice")) {
    address.searchParams.delete("notice");
    history.replaceState(null, "", address);
  }

  // After an act the page is where it was.
  const place = `place ${location.pathname}`;
  addEventListener("submit", (event) => {
    sessionStorage.setItem(place, String(scrollY));
    // A second click sends nothing a second time. The form is read before.
    setTimeout(() => { if (!event.defaultPrevented && event.target.method === "post") each("button", (button) => { if (!button.disabled) { button.disabled = true; button.dataset.sent = ""; } }, event.target); });
  });
  addEventListener("pageshow", (event) => { if (event.persisted) each("button[data-sent]", (button) => { button.disabled = false; }); });
  const kept = sessionStorage.getItem(place);
  if (kept !== null) {
    sessionStorage.removeItem(place);
    scrollTo(0, Number(kept));
  }

  // Lists: what is ticked, all at once.
  const countTicked = () => each("form[data-selection]", (form) => {
    const boxes = [...form.elements].filter((box) => box.type === "checkbox" && box.name === "id");
    const ticked = boxes.filter((box) => box.checked).length;
    each("[data-ticked]", (place) => { place.textContent = ticked ? `${ticked} selected` : ""; }, form);
    const all = one("input[data-all]", form);
    if (all) { all.hidden = false; all.checked = ticked > 0 && ticked === boxes.length; all.indeterminate = ticked > 0 && ticked < boxes.length; }
  });
  document.addEventListener("change", (event) => {
    const all = event.target.closest("input[data-all]");
    if (all) [...all.form.elements].filter((box) => box.name === "id").forEach((box) => { box.checked = all.checked; });
    countTicked();
  });

  // An open page follows what happens: one event stream says that something has changed, and the page asks for itself again. Parts
  // (data-part) are replaced where they differ; rows (data-rows) stay where they are, new ones are told of.
  const replacePart = (old, fresh) => {
    if (old.outerHTML === fresh.outerHTML || old.dataset.was === fresh.outerHTML) return;
    if (old.contains(document.activeElement) && document.activeElement !== document.body) return;
    const now = document.importNode(fresh, true);
    now.dataset.was = fresh.outerHTML;
    each("details[id]", (details) => { const same = now.querySelector(`#${CSS.escape(details.id)}`); if (same) same.open = details.open; }, old);
    old.replaceWith(now);
    prepare(now);
  };
  // A row that is not there any more is gone, unless it lies behind the end of what was fetched. What comes behind the last row is
  // added; what comes in above or between is told of, so that nothing moves that is read. Where it is followed (data-follow), new
  // rows come in at the top.
  const LONGEST = 100;
  const replaceRows = (old, fresh) => {
    const news = new Map([...fresh.children].map((row) => [row.id, row]));
    const end = "more" in fresh.dataset ? fresh.lastElementChild?.id ?? "" : "";
    const follows = "follow" in old.dataset;
    const last = old.lastElementChild?.id ?? "";
    for (const row of [...old.children]) {
      const now = news.get(row.id);
      row.classList.toggle("gone", !now && row.id > end && !follows);
      if (!now) continue;
      news.delete(row.id);
      if (row.dataset.was === now.innerHTML) continue;
      const ticked = one("input[name=id]", row)?.checked;
      if (row.contains(document.activeElement)) continue;
      row.innerHTML = now.innerHTML;
      row.dataset.was = now.innerHTML;
      const box = one("input[name=id]", row);
      if (box && ticked) box.checked = true;
      prepare(row);
    }
    let newer = 0;
    const come = [...news.values()];
    for (const row of follows ? come.reverse() : come) {
      if (!follows && (row.id > last || old.children.length >= LONGEST)) { newer += 1; continue; }
      const added = document.importNode(row, true);
      added.dataset.was = row.innerHTML;
      if (follows) old.prepend(added); else old.append(added);
      if (old.children.length > LONGEST) old.lastElementChild.remove();
      prepare(added);
    }
    const hint = one("[data-newer]");
    if (hint) { hint.hidden = newer === 0; one("[data-newer-count]", hint).textContent = String(newer); }
  };
  const say = (text) => { const place = one("[data-live-state]"); if (place) { place.textContent = text; place.hidden = !text; } };
  let stream, busy = false, again = false, last = 0;
  const refresh = async () => {
    if (busy) { again = true; return; }
    busy = true;
    try {
      await new Promise((wait) => setTimeout(wait, Math.max(0, last + 1000 - Date.now())));
      // A list says which address keeps its place, whatever comes in above it.
      const place = one("[data-rows][data-refresh]")?.dataset.refresh || location.href;
      const answer = await fetch(place, { headers: { Accept: "text/html" } });
      last = Date.now();
      if (new URL(answer.url).pathname === "/login") { stream?.close(); say("Logged out"); return; }
      // What the page is about is gone: the page says so itself.
      if (answer.status === 404 || answer.status === 410) { stream?.close(); location.reload(); return; }
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      each("[data-part][id]", (part) => { const now = fresh.getElementById(part.id); if (now) replacePart(part, now); });
      each("[data-rows][id]", (rows) => {
        const now = fresh.getElementById(rows.id);
        if (now) replaceRows(rows, now); else [...rows.children].forEach((row) => row.classList.add("gone"));
      });
      document.title = fresh.title;
      countTicked();
      tick();
    } catch { /* The stream tells when the proxy is back. */ } finally {
      busy = false;
      if (again) { again = false; refresh(); }
    }
  };
  const follow = () => {
    if (!("live" in document.body.dataset)) return;
    stream?.close();
    if (document.hidden) return;
    stream = new EventSource("/live");
    stream.addEventListener("changed", refresh);
    stream.onopen = () => say("Live");
    stream.onerror = () => say("Not connected");
  };
  document.addEventListener("visibilitychange", () => { follow(); tick(); });
  addEventListener("pagehide", () => stream?.close());
  addEventListener("pageshow", (event) => { if (event.persisted) follow(); });

  // Keys.
  const pages = { d: "/", q: "/queue", s: "/sent", e: "/events", u: "/upstreams", t: "/settings", n: "/send", c: "/configuration" };
  let prefix = false;
  const rows = () => [...document.querySelectorAll("tbody[data-rows] > tr")];
  const move = (by) => {
    const all = rows();
    if (!all.length) return;
    const at = all.findIndex((row) => row.classList.contains("current"));
    const next = all[Math.min(all.length - 1, Math.max(0, at + by))];
    all.forEach((row) => row.classList.remove("current"));
    next.classList.add("current");
    next.scrollIntoView({ block: "nearest" });
    (one("a[href]", next) ?? next).focus({ preventScroll: true });
  };
  const help = () => {
    let dialog = one("dialog#keys");
    if (!dialog) {
      dialog = document.createElement("dialog");
      dialog.id = "keys";
      dialog.setAttribute("aria-label", "Keys");
      const keys = [["g, then d q s e u t n c", "Dashboard, queue, sent, events, upstreams, settings, new test message, configuration"], ["/", "Filter"],
        ["j k", "Next and previous row"], ["Enter", "Open it"], ["x", "Select it"], ["?", "This list"]];
      dialog.innerHTML = `<h2>Keys</h2><dl class="facts">${keys.map(([key, what]) => `<dt><kbd>${key}</kbd></dt><dd>${what}</dd>`).join("")}</dl><form method="dialog"><button>Close</button></form>`;
      document.body.append(dialog);
    }
    dialog.showModal();
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
    if (prefix && pages[event.key]) { location.href = pages[event.key]; return; }
    prefix = event.key === "g";
    if (event.key === "/") { const field = one("input[type=search]"); if (field) { event.preventDefault(); field.focus(); field.select(); } }
    else if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "x") { const box = one("tr.current input[name=id]"); if (box) { box.checked = !box.checked; countTicked(); } }
    else if (event.key === "?") help();
  });

  each("[data-zone]", (place) => { place.textContent = zone === "UTC" ? "Times are in UTC." : `Times are in ${zone}; hover for UTC.`; });
  each("[data-keys]", (place) => { place.hidden = false; });
  each("[data-with-script]", (element) => { element.hidden = false; });
  prepare();
  countTicked();
  tick();
  follow();
})();
