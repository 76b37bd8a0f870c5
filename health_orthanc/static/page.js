// SPDX-FileCopyrightText: The GNU Health imaging suite contributors
// SPDX-License-Identifier: GPL-3.0-or-later
'use strict';

// Requests at the same time
const AT_ONCE = 3;
const DONE = ['stored', 'known', 'skipped', 'refused', 'differs'];
const STORAGE = 'health_orthanc.upload';
const get = id => document.getElementById(id);
const base = location.pathname.replace(/\/$/, '');

let key, page, texts = {};
let running = false, stopped = false, unfinished = false;
const entries = [], known = new Set();
const totals = {studies: 0, linked: 0};

class Over extends Error {}      // the server says why not
class Dropped extends Error {}   // the server says nothing

// What GNU Health answers

function ask(path, body, name, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', `${base}/${path}`);
    request.setRequestHeader('Content-Type', 'application/octet-stream');
    if (key) request.setRequestHeader('Authorization', `Bearer ${key}`);
    if (name) {
      request.setRequestHeader(
        'X-File-Name', encodeURIComponent(clean(name.slice(-200))));
    }
    if (progress) {
      request.upload.onprogress = event =>
        progress(event.loaded / (event.total || 1));
    }
    request.onerror = request.onabort = () => reject(new Dropped());
    request.onload = () => {
      let answer = null;
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        // a proxy's page
      }
      if (request.status === 413) {
        resolve({files: [{name, state: 'refused', reason: tooLarge()}]});
      } else if (answer && answer.error) {
        reject(new Over(answer.error));
      } else if (request.status === 200 && answer) {
        resolve(answer);
      } else {
        reject(new Dropped());
      }
    };
    request.send(body || '');
  });
}

function clean(text) {
  // half a character cannot be sent
  return text.toWellFormed ? text.toWellFormed()
    : text.replace(/[\ud800-\udfff]/g, '?');
}

function fill(name, values) {
  return (texts[name] || '').replace(
    /\{(\w+)\}/g, (_, word) => values[word]);
}

function tooLarge() {
  return fill('large', {size: Math.floor(page.limit / 1048576)});
}

// What the page shows

function element(name, text, class_) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (class_) made.className = class_;
  return made;
}

function say(sentence) {
  get('notice').textContent = sentence || '';
  get('notice').hidden = !sentence;
}

function show(described) {
  page = described;
  texts = page.texts;
  document.documentElement.lang = page.language;
  document.documentElement.dir = page.direction;
  document.title = texts.title;
  for (const one of document.querySelectorAll('[data-text]')) {
    one.textContent = texts[one.dataset.text];
  }
  get('bar').setAttribute('aria-label', texts.progress);
  get('list').setAttribute('aria-label', texts.files);
  get('facts').replaceChildren();
  for (const name of ['server', 'patient', 'request']) {
    if (page[name]) {
      const line = element('div'), value = element('dd');
      value.append(element('bdi', page[name]));
      line.append(element('dt', texts[name]), value);
      get('facts').append(line);
    }
  }
  get('work').hidden = false;
}

function makeRow(entry) {
  entry.row = element('tr');
  const name = element('td');
  name.append(element('bdi', entry.name));
  entry.stateCell = element('td', '', 'state');
  entry.reasonCell = element('td', '');
  entry.row.append(name, entry.stateCell, entry.reasonCell);
  set(entry, entry.state, entry.reason);
  return entry.row;
}

function set(entry, state, reason) {
  entry.state = state;
  entry.reason = reason || '';
  entry.row.className = state;
  entry.stateCell.textContent = texts[state];
  entry.reasonCell.textContent = entry.reason;
}

let drawing = false;
function draw() {
  if (drawing) return;
  drawing = true;
  setTimeout(() => {
    drawing = false;
    const of = {};
    for (const entry of entries) of[entry.state] = (of[entry.state] || 0) + 1;
    const count = state => of[state] || 0;
    const done = DONE.reduce((sum, state) => sum + count(state), 0);
    get('results').hidden = !entries.length;
    get('bar').value = entries.length ? done / entries.length : 0;
    get('counts').textContent = fill('counts', {
      done, all: entries.length, stored: count('stored'),
      known: count('known'), skipped: count('skipped'),
      refused: count('refused') + count('differs'),
    });
    get('retry').hidden = running || !entries.some(waits);
  }, 100);
}

const waits = entry => entry.state === 'waiting' || entry.state === 'failed';

// Files

function add(files) {
  const rows = document.createDocumentFragment();
  for (const [file, path] of files) {
    const mark = `${path}|${file.size}|${file.lastModified}`;
    // what is here already is not sent again
    if (known.has(mark)) continue;
    known.add(mark);
    const entry = {file, name: path, mark, state: 'waiting'};
    entries.push(entry);
    rows.append(makeRow(entry));
    if (file.size > page.limit) set(entry, 'refused', tooLarge());
  }
  get('rows').append(rows);
  draw();
  start();
}

const chosen = input => {
  const files = [...input.files].map(
    file => [file, file.webkitRelativePath || file.name]);
  input.value = '';
  return files;
};

async function dropped(items) {
  const found = [];
  const read = async entry => {
    if (entry.isFile) {
      await new Promise(resolve => entry.file(file => {
        found.push([file, entry.fullPath.replace(/^\//, '')]);
        resolve();
      }, resolve));
    } else if (entry.isDirectory) {
      const reader = entry.createReader();
      // some hundred at a time
      for (;;) {
        const some = await new Promise(
          resolve => reader.readEntries(resolve, () => resolve([])));
        if (!some.length) break;
        for (const one of some) await read(one);
      }
    }
  };
  const tops = [...items].filter(item => item.kind === 'file').map(
    item => [item.webkitGetAsEntry && item.webkitGetAsEntry(),
      item.getAsFile()]);
  for (const [entry, file] of tops) {
    if (entry) await read(entry);
    else if (file) found.push([file, file.name]);
  }
  return found;
}

// Sending

async function inParallel(list, work) {
  const queue = [...list];
  let failure = null;
  await Promise.all(Array.from({length: AT_ONCE}, async () => {
    while (queue.length && !failure) {
      try {
        await work(queue.shift());
      } catch (error) {
        failure = error;
      }
    }
  }));
  if (failure) throw failure;
}

async function start() {
  if (running) return;
  running = true;
  say('');
  get('outcome').textContent = '';
  try {
    while (entries.some(entry => entry.state === 'waiting')) {
      if (page.compares && !page.across && !await check()) break;
      const ready = entries.filter(entry => entry.state === 'waiting');
      if (ready.length) unfinished = true;
      await inParallel(ready, send);
    }
    await finish();
  } catch (error) {
    if (error instanceof Over) {
      say(error.message);
    } else if (error instanceof Dropped) {
      say(texts.dropped);
    } else {
      throw error;
    }
    for (const entry of entries) {
      if (['sending', 'checking'].includes(entry.state)) {
        set(entry, 'failed');
      }
    }
  } finally {
    running = false;
    draw();
  }
}

async function send(entry) {
  set(entry, 'sending');
  const progress = part => {
    entry.stateCell.textContent =
      `${texts.sending} ${Math.round(part * 100)} %`;
  };
  let answer;
  try {
    answer = await ask('file', entry.file, entry.name, progress);
  } catch (error) {
    if (!(error instanceof Dropped)) throw error;
    // once more: what has come already is there only once
    await new Promise(resolve => setTimeout(resolve, 1000));
    try {
      answer = await ask('file', entry.file, entry.name, progress);
    } catch (again) {
      set(entry, 'failed', again instanceof Dropped ? texts.dropped : '');
      throw again;
    }
    for (const file of answer.files || []) {
      if (file.state === 'known') file.state = 'stored';
    }
  }
  unfinished = true;
  if (answer.again) {
    const [first] = answer.files.filter(file => file.state === 'refused');
    set(entry, 'failed', first.reason);
    throw new Over(first.reason);
  }
  if (answer.files.length === 1) {
    set(entry, answer.files[0].state, answer.files[0].reason);
  } else {
    // an archive: a line for each file in it
    const place = entries.indexOf(entry);
    const inner = answer.files.map(file => ({...file}));
    entries.splice(place, 1, ...inner);
    entry.row.replaceWith(...inner.map(makeRow));
  }
  draw();
}

async function finish() {
  if (!unfinished) return;
  const answer = await ask('finish');
  unfinished = false;
  totals.studies = answer.studies;
  totals.linked = answer.linked;
  const sentence = [texts.finished];
  if (answer.studies) sentence.push(fill('linked', totals));
  get('outcome').textContent = sentence.join(' ');
}

// Files of something else

async function check() {
  const unchecked = entries.filter(
    entry => entry.state === 'waiting' && !entry.checked);
  const parts = [];
  for (let start = 0; start < unchecked.length; start += page.heads) {
    parts.push(unchecked.slice(start, start + page.heads));
  }
  await inParallel(parts, async part => {
    for (const entry of part) set(entry, 'checking');
    try {
      const answer = await ask('check', frame(
        part.map(entry => entry.file.slice(0, page.head))));
      part.forEach((entry, place) => {
        entry.differences = answer.differences[place];
        entry.checked = true;
      });
    } finally {
      for (const entry of part) set(entry, 'waiting');
    }
  });
  const wrong = entries.filter(
    entry => entry.state === 'waiting' && (entry.differences || []).length);
  return !wrong.length || decide(wrong);
}

// Several files together: each behind its length in eight bytes
function frame(files) {
  return new Blob(['MULT', ...files.flatMap(file => {
    const length = new DataView(new ArrayBuffer(8));
    length.setUint32(0, file.size, true);
    return [length, file];
  })]);
}

function decide(wrong) {
  const lines = new Map();
  for (const entry of wrong) {
    for (const difference of entry.differences) {
      const mark = JSON.stringify(difference);
      lines.set(mark, (lines.get(mark) || 0) + 1);
    }
  }
  get('differences').replaceChildren(...[...lines].map(([mark, count]) => {
    const [fact, found, expected] = JSON.parse(mark);
    const row = element('tr');
    row.append(element('td', texts[fact]));
    for (const value of [found || '-', expected]) {
      const cell = element('td');
      cell.append(element('bdi', value));
      row.append(cell);
    }
    row.append(element('td', count));
    return row;
  }));
  get('go-on').hidden = get('ask-why').hidden = !page.may_go_on;
  get('only-admin').hidden = page.may_go_on;
  get('mismatch').hidden = false;
  get('drop').hidden = true;
  get('mismatch').focus();
  return new Promise(resolve => {
    const close = result => {
      get('mismatch').hidden = true;
      get('drop').hidden = false;
      draw();
      resolve(result);
    };
    get('cancel').onclick = () => {
      for (const entry of entries.filter(waits)) {
        entry.row.remove();
        known.delete(entry.mark);
        entries.splice(entries.indexOf(entry), 1);
      }
      close(false);
    };
    get('leave-out').onclick = () => {
      for (const entry of wrong) {
        set(entry, 'differs', entry.differences.map(
          ([fact, found, expected]) =>
            `${texts[fact]}: ${found || '-'} ≠ ${expected}`).join(' '));
      }
      close(true);
    };
    get('go-on').onclick = async () => {
      if (!get('why').value.trim()) {
        get('why').focus();
        return;
      }
      try {
        await ask('across', get('why').value);
        page.across = true;
        say('');
        close(true);
      } catch (error) {
        say(error instanceof Over ? error.message : texts.dropped);
      }
    };
  });
}

// The person

get('choose-files').onclick = () => get('files').click();
get('choose-folder').onclick = () => get('folder').click();
for (const id of ['files', 'folder']) {
  get(id).onchange = event => add(chosen(event.target));
}
get('retry').onclick = () => {
  for (const entry of entries) {
    if (entry.state === 'failed') set(entry, 'waiting');
  }
  start();
};
get('only-refused').onchange = event =>
  get('rows').classList.toggle('only', event.target.checked);

document.addEventListener('dragover', event => {
  event.preventDefault();
  get('drop').classList.add('over');
});
document.addEventListener('dragleave', event => {
  if (!event.relatedTarget) get('drop').classList.remove('over');
});
document.addEventListener('drop', async event => {
  event.preventDefault();
  get('drop').classList.remove('over');
  if (page && !get('drop').hidden) {
    add(await dropped(event.dataTransfer.items));
  }
});
addEventListener('beforeunload', event => {
  if (running) event.preventDefault();
});
addEventListener('pagehide', () => {
  if (unfinished) {
    fetch(`${base}/finish`, {
      method: 'POST', keepalive: true, body: '',
      headers: {'Authorization': `Bearer ${key}`},
    });
  }
});

async function begin() {
  const link = location.hash.slice(1);
  history.replaceState(null, '', location.pathname);
  try {
    if (link) {
      const answer = await ask('open', link);
      key = answer.key;
      sessionStorage.setItem(STORAGE, key);
      show(answer);
    } else {
      key = sessionStorage.getItem(STORAGE);
      show(await ask('state'));
    }
  } catch (error) {
    say(error instanceof Over ? error.message : String(error));
  }
}
begin();
