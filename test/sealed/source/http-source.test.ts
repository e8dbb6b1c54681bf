import forge from 'node-forge';
import { describe, expect, it, onTestFinished } from 'vitest';

import { Mapping } from '../../../native/memory/mapping.ts';
import { isRefusal } from '../../../attestation/core/refusal.ts';
import { SealedBundle } from '../../../src/sealed/reader.ts';
import { HttpSource } from '../../../src/sealed/source/http-source.ts';
import type { MirrorOptions } from '../../../src/sealed/source/mirror.ts';
import { unseal } from '../../../src/sealed/unseal.ts';
import { issueCertificate, rsaKeys } from '../../support/certificates.ts';
import { startRangeServer, type Fault, type RangeServer } from '../../support/range-server.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { modelKeyMemory, TRUST } from '../fixtures.ts';
import {
  CHUNK,
  HASTE,
  plaintext,
  readAll,
  sealed,
  sourceAt,
  startMirror,
  unlockAt,
  WEIGHTS,
} from './mirrored-bundle.ts';

const SIZE = plaintext.get(WEIGHTS)!.length;

/** Reads the first chunk of the weights with the given faults in front of it. */
async function readBehind(
  faults: readonly Fault[],
  options: MirrorOptions = {},
): Promise<{ code: string; server: RangeServer }> {
  const server = await startMirror();
  const { unlocked } = await unlockAt(server, options);
  server.requests.splice(0);
  server.faults.push(...faults);
  const code = await refusalCodeAsync(async () => {
    const found = await unlocked.readAt(WEIGHTS, 0, CHUNK);
    expect(Buffer.compare(found, plaintext.get(WEIGHTS)!.subarray(0, CHUNK))).toBe(0);
  });
  return { code, server };
}

const always = (fault: Fault): readonly Fault[] => Array.from({ length: 64 }, () => fault);
/** No listener is there: the port is the discard service's. */
const NOBODY = 'http://127.0.0.1:9/pub';

describe('a mirror without faults', () => {
  it('SW-30, SW-33: every byte comes, by range, and nothing but files of the manifest is asked for', async () => {
    const server = await startMirror();
    const { bundle, unlocked } = await unlockAt(server);
    await bundle.verify();
    for (const [path, bytes] of await readAll(unlocked)) {
      expect(Buffer.compare(bytes, plaintext.get(path)!), path).toBe(0);
    }
    expect(new Set(server.requests.map(({ path }) => path))).toEqual(
      new Set([...sealed.keys()].filter((path) => path !== 'empty').map((path) => `pub/${path}`)),
    );
    for (const { range, headers } of server.requests) {
      expect(range).toMatch(/^bytes=[0-9]+-[0-9]+$/);
      expect(headers['accept-encoding']).toBe('identity');
    }
  });

  it('SW-40: reads go into memory at an address, and at most as many at a time as are allowed', async () => {
    const server = await startMirror();
    server.choose = () => ({ kind: 'throttle', bytesAtATime: 512 * 1024 });
    const source = sourceAt(server, { concurrentReads: 3 });
    const file = await source.open(WEIGHTS, SIZE);
    const memory = Mapping.create(SIZE);
    onTestFinished(() => {
      memory.unmap();
    });
    const part = Math.ceil(SIZE / 7);
    await Promise.all(
      Array.from({ length: 7 }, (_, i) => {
        const offset = i * part;
        const target = { address: memory.address + BigInt(offset) };
        return file.read(target, offset, Math.min(part, SIZE - offset));
      }),
    );
    expect(Buffer.compare(memory.read(0, SIZE), sealed.get(WEIGHTS)!)).toBe(0);
    expect(server.mostAtATime).toBe(3);
  });

  it('SW-30: a file of another size is refused, and so are a manifest and tags that are too long', async () => {
    const server = await startMirror();
    const { unlocked } = await unlockAt(server);
    for (const length of [SIZE + 1, SIZE - 1, CHUNK, 1]) {
      server.files.set(`pub/${WEIGHTS}`, new Uint8Array(length));
      const source = sourceAt(server);
      const file = await source.open(WEIGHTS, SIZE);
      const read = (): Promise<void> => file.read(new Uint8Array(100), SIZE - 100, 100);
      expect(await refusalCodeAsync(read), `${length} bytes`).toBe('sealed-file-size');
    }
    server.files.delete(`pub/${WEIGHTS}`);
    expect(await refusalCodeAsync(() => unlocked.readAt(WEIGHTS, 0, 1))).toBe('sealed-file-missing');
    const tags = sealed.get('weightgate.tags')!;
    server.files.set('pub/weightgate.tags', Buffer.concat([tags, Buffer.from('x')]));
    expect(await refusalCodeAsync(() => SealedBundle.open(sourceAt(server), TRUST))).toBe(
      'sealed-tags-length',
    );
    server.files.set('pub/weightgate.manifest.json', new Uint8Array(32 * 1024 * 1024 + 1));
    expect(await refusalCodeAsync(() => SealedBundle.open(sourceAt(server), TRUST))).toBe('file-too-large');
  });
});

describe('opening into memory from a mirror', () => {
  async function unsealAt(server: RangeServer): Promise<string> {
    const bundle = await SealedBundle.open(sourceAt(server), TRUST);
    server.choose = ({ path, headers }) =>
      path === `pub/${WEIGHTS}` && headers['cache-control'] === undefined
        ? { kind: 'corrupt', at: 11 }
        : undefined;
    const modelKey = modelKeyMemory();
    try {
      return await refusalCodeAsync(async () => {
        const unsealed = await unseal(bundle, modelKey);
        for (const [path, bytes] of plaintext) {
          const memory = unsealed.files.get(path)!;
          expect(Buffer.compare(memory.read(0, memory.bytes), bytes), path).toBe(0);
        }
        unsealed.close();
      });
    } finally {
      modelKey.close();
    }
  }

  it('SW-41: chunks that come wrong once are fetched again, chunks that always do refuse it all', async () => {
    const server = await startMirror();
    expect(await unsealAt(server)).toBe('accepted');
    const spoilt = await startMirror();
    spoilt.files.get(`pub/${WEIGHTS}`)![CHUNK + 5]! ^= 0x80;
    expect(await unsealAt(spoilt)).toBe('sealed-chunk-tag');
  });
});

describe('every fault has its outcome', () => {
  const faults: readonly (readonly [string, string, readonly Fault[], number | undefined])[] = [
    ['nothing', 'accepted', [], 1],
    ['a throttled answer', 'accepted', [{ kind: 'throttle', bytesAtATime: 64 * 1024 }], 1],
    ['one reset', 'accepted', [{ kind: 'reset', afterBytes: 1_000_000 }], 2],
    ['a reset after each 100 KB', 'accepted', always({ kind: 'reset', afterBytes: 100_000 }), undefined],
    ['nothing but resets', 'source-unreachable', always({ kind: 'reset', afterBytes: 0 }), 4],
    ['connections that are closed', 'source-unreachable', always({ kind: 'no-answer' }), 4],
    ['an answer that ends early once', 'accepted', [{ kind: 'truncated', afterBytes: 77 }], 2],
    ['answers that end early', 'source-unreachable', always({ kind: 'truncated', afterBytes: 7 }), 4],
    ['the whole file', 'source-range-ignored', [{ kind: 'whole-file' }], 1],
    ['extra bytes', 'source-length', [{ kind: 'extra-bytes' }], 1],
    ['one 503', 'accepted', [{ kind: 'status', status: 503 }], 2],
    ['503 for ever', 'source-busy', always({ kind: 'status', status: 503 }), 4],
    ['429 for ever', 'source-busy', always({ kind: 'status', status: 429 }), 4],
    ['408 and 500', 'accepted', [408, 500].map((status) => ({ kind: 'status', status })), 3],
    ['401', 'source-forbidden', [{ kind: 'status', status: 401 }], 1],
    ['403', 'source-forbidden', [{ kind: 'status', status: 403 }], 1],
    ['404', 'sealed-file-missing', [{ kind: 'status', status: 404 }], 1],
    ['204', 'source-status', [{ kind: 'status', status: 204 }], 1],
    ['416 of the right size', 'source-status', [{ kind: 'status', status: 416 }], 1],
    ['one byte corrupted once', 'accepted', [{ kind: 'corrupt', at: 99 }], 2],
    ['bytes corrupted always', 'sealed-chunk-tag', always({ kind: 'corrupt', at: 3_000_000 }), 2],
    [
      'a redirection without address',
      'source-redirect',
      [{ kind: 'redirect', status: 302, location: undefined }],
      1,
    ],
    [
      'a redirection to a file',
      'source-redirect',
      [{ kind: 'redirect', status: 302, location: 'file:///etc/passwd' }],
      1,
    ],
    [
      'a redirection with a user',
      'source-redirect',
      [{ kind: 'redirect', status: 302, location: 'http://a:b@127.0.0.1/' }],
      1,
    ],
    [
      'a redirection loop',
      'source-redirect-limit',
      always({ kind: 'redirect', status: 307, location: '?' }),
      6,
    ],
  ];
  it.each(faults)('SW-34 to SW-38, SW-41: %s: %s', async (_name, code, list, requests) => {
    const { code: found, server } = await readBehind(list);
    expect(found).toBe(code);
    if (requests !== undefined) expect(server.requests.length).toBe(requests);
  });

  const stalls: readonly (readonly [string, string, readonly Fault[]])[] = [
    ['one answer that hangs', 'accepted', [{ kind: 'hang', afterBytes: 2_000_000 }]],
    ['answers that hang', 'source-stalled', always({ kind: 'hang', afterBytes: 500 })],
    ['silence', 'source-stalled', always({ kind: 'silence' })],
  ];
  it.each(stalls)('SW-37: %s: %s', async (_name, code, list) => {
    const stall = { windowMilliseconds: code === 'accepted' ? 2000 : 500, leastBytes: 1024 };
    const { code: found, server } = await readBehind(list, { stall });
    expect(found).toBe(code);
    expect(server.requests.length).toBeGreaterThanOrEqual(code === 'accepted' ? 2 : 4);
  });

  it('SW-37: an answer that is slow all along outlasts many windows', async () => {
    const windowMilliseconds = 1000;
    const startedAt = performance.now();
    const { code, server } = await readBehind([{ kind: 'throttle', bytesAtATime: 8 * 1024 }], {
      stall: { windowMilliseconds, leastBytes: 1 },
    });
    expect(performance.now() - startedAt).toBeGreaterThan(2 * windowMilliseconds);
    expect(code).toBe('accepted');
    expect(server.requests.length).toBe(1);
  });

  const wrongHeaders: readonly (readonly [code: string, headers: Readonly<Record<string, string>>])[] = [
    ['source-range', { 'content-range': `bytes 1-${CHUNK}/${SIZE}` }],
    ['source-range', { 'content-range': `bytes 0-${CHUNK - 2}/${SIZE}` }],
    ['source-range', { 'content-range': `bytes 0-${CHUNK - 1}/*` }],
    ['source-range', { 'content-range': `bytes=0-${CHUNK - 1}/${SIZE}` }],
    ['source-range', { 'content-range': '' }],
    ['sealed-file-size', { 'content-range': `bytes 0-${CHUNK - 1}/${SIZE + 1}` }],
    ['source-length', { 'content-length': String(CHUNK + 1) }],
    ['source-length', { 'content-length': '1' }],
    ['source-encoding', { 'content-encoding': 'gzip' }],
    ['source-encoding', { 'content-encoding': 'identity, br' }],
    ['accepted', { 'content-encoding': 'identity' }],
  ];
  it.each(wrongHeaders)('SW-34: %s for %j', async (code, headers) => {
    expect((await readBehind([{ kind: 'headers', headers }])).code).toBe(code);
  });
});

describe('retries', () => {
  it('SW-36: go on from the byte that was reached, and name the version that they go on with', async () => {
    const { code, server } = await readBehind([{ kind: 'reset', afterBytes: 1_000_000 }]);
    expect(code).toBe('accepted');
    const [first, second] = server.requests;
    const reached = Number(/^bytes=([0-9]+)-/.exec(second!.range!)![1]);
    expect(first!.range).toBe(`bytes=0-${CHUNK - 1}`);
    expect(second!.range).toBe(`bytes=${reached}-${CHUNK - 1}`);
    expect(reached).toBeGreaterThan(0);
    expect(reached).toBeLessThanOrEqual(1_000_000);
    expect(second!.headers['if-range']).toMatch(/^"[0-9a-f]{32}"$/);
  });

  it('SW-35: a file that is replaced between two requests is refused, whatever is sent then', async () => {
    const server = await startMirror();
    const { unlocked } = await unlockAt(server);
    await unlocked.readAt(WEIGHTS, 0, 1);
    server.files.set(`pub/${WEIGHTS}`, new Uint8Array(SIZE));
    expect(await refusalCodeAsync(() => unlocked.readAt(WEIGHTS, 0, 1))).toBe('source-changed');
  });

  it('SW-35: a weak tag is never sent as If-Range, and no tag at all is no change', async () => {
    const server = await startMirror();
    server.entityTag = () => 'W/"weak"';
    const { unlocked } = await unlockAt(server);
    await unlocked.readAt(WEIGHTS, 0, 1);
    server.entityTag = () => undefined;
    await unlocked.readAt(WEIGHTS, 0, 1);
    expect(server.requests.filter(({ headers }) => headers['if-range'] !== undefined)).toEqual([]);
    server.entityTag = () => 'W/"other"';
    expect(await refusalCodeAsync(() => unlocked.readAt(WEIGHTS, 0, 1))).toBe('source-changed');
  });

  it('SW-36: waits as long as Retry-After says, and refuses to wait too long', async () => {
    const startedAt = performance.now();
    const { code } = await readBehind([{ kind: 'status', status: 429, headers: { 'retry-after': '1' } }]);
    expect(code).toBe('accepted');
    expect(performance.now() - startedAt).toBeGreaterThan(1000);
    const { code: tooLong, server } = await readBehind([
      { kind: 'status', status: 503, headers: { 'retry-after': '3' } },
    ]);
    expect(tooLong).toBe('source-busy');
    expect(server.requests.length).toBe(1);
  });

  it('SW-36: a mirror that nobody runs is unreachable', async () => {
    const source = new HttpSource(NOBODY, HASTE);
    expect(await refusalCodeAsync(() => SealedBundle.open(source, TRUST))).toBe('source-unreachable');
  });

  it('an interrupt ends a read that hangs, one that waits to be tried again, and one that waits for its turn', async () => {
    for (const fault of [
      { kind: 'hang', afterBytes: 10 },
      { kind: 'status', status: 503, headers: { 'retry-after': '2' } },
    ] satisfies Fault[]) {
      const server = await startMirror();
      const source = sourceAt(server, {
        concurrentReads: 1,
        stall: { windowMilliseconds: 60_000, leastBytes: 1 },
      });
      const file = await source.open(WEIGHTS, SIZE);
      server.choose = () => fault;
      const controller = new AbortController();
      const { signal } = controller;
      const reads = [0, 1].map((offset) =>
        refusalCodeAsync(() => file.read(new Uint8Array(100), offset, 100, { signal })),
      );
      while (server.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      controller.abort();
      expect(await Promise.all(reads)).toEqual(['sealed-interrupted', 'sealed-interrupted']);
      expect(server.requests.length).toBe(1);
    }
  });

  it('SW-41: the second read goes past caches, and to the address again', async () => {
    const { server } = await readBehind([{ kind: 'corrupt', at: 5 }]);
    expect(server.requests.map(({ headers }) => headers['cache-control'])).toEqual([undefined, 'no-cache']);
  });

  it('SW-20: verify refuses what no tag vouches for, and names the file', async () => {
    const server = await startMirror();
    const { bundle } = await unlockAt(server);
    server.choose = ({ path }) => (path === `pub/${WEIGHTS}` ? { kind: 'corrupt', at: 1 } : undefined);
    const refusal = await bundle
      .verify()
      .catch((error: unknown) => (isRefusal(error) ? error.refusal : error));
    expect(refusal).toMatchObject({ code: 'sealed-file-digest', field: 'weights/gr??e #1 (a).bin' });
  });
});

describe('redirections, as of the Hugging Face hub', () => {
  /** A hub that gives small files itself and sends callers to another origin for the rest. */
  async function startHub(): Promise<{ hub: RangeServer; cdn: RangeServer; source: HttpSource }> {
    const folder = 'lab/model/resolve/5e1f';
    const hub = await startRangeServer(
      new Map([...sealed].map(([path, bytes]) => [`${folder}/${path}`, bytes])),
    );
    const cdn = await startRangeServer(new Map([['blob', sealed.get(WEIGHTS)!]]));
    hub.choose = ({ path }) =>
      path.endsWith('.bin')
        ? { kind: 'redirect', status: 302, location: `${cdn.origin}/blob?signed` }
        : undefined;
    const options = { ...HASTE, token: 'hf_secret' };
    return { hub, cdn, source: new HttpSource(`${hub.origin}/${folder}/`, options) };
  }

  it('SW-38, SW-39: are followed, kept for the next range, and get no credential', async () => {
    const { hub, cdn, source } = await startHub();
    const bundle = await SealedBundle.open(source, TRUST);
    await bundle.verify();
    const file = await source.open(WEIGHTS, SIZE);
    await file.read(new Uint8Array(10), 50, 10);
    expect(hub.requests.every(({ headers }) => headers.authorization === 'Bearer hf_secret')).toBe(true);
    expect(cdn.requests.some(({ headers }) => 'authorization' in headers)).toBe(false);
    expect(cdn.requests.length).toBe(3);
    expect(hub.requests.filter(({ path }) => path.endsWith('.bin')).length).toBeLessThan(3);
  });

  it('SW-38: an address that is over is asked for again, and one that serves one range only is not kept', async () => {
    const { hub, cdn, source } = await startHub();
    const file = await source.open(WEIGHTS, SIZE);
    const read = async (offset: number): Promise<number> => {
      const before = hub.requests.length;
      await file.read(new Uint8Array(10), offset, 10);
      return hub.requests.length - before;
    };
    expect([await read(0), await read(1), await read(2)]).toEqual([1, 0, 0]);
    cdn.faults.push({ kind: 'status', status: 403 });
    expect([await read(3), await read(4)]).toEqual([1, 0]);
    cdn.faults.push({ kind: 'right' }, { kind: 'status', status: 410 });
    expect([await read(5), await read(6), await read(7)]).toEqual([0, 1, 0]);
    const { source: other, cdn: otherCdn } = await startHub();
    const strict = await other.open(WEIGHTS, SIZE);
    otherCdn.faults.push({ kind: 'right' }, { kind: 'status', status: 403 });
    for (const offset of [0, 1, 2]) await strict.read(new Uint8Array(10), offset, 10);
    expect(otherCdn.requests.length).toBe(4);
  });

  it('SW-38: what refuses right behind a redirection is refused', async () => {
    const { cdn, source } = await startHub();
    cdn.choose = () => ({ kind: 'status', status: 403 });
    const file = await source.open(WEIGHTS, SIZE);
    expect(await refusalCodeAsync(() => file.read(new Uint8Array(1), 0, 1))).toBe('source-forbidden');
  });

  it('SW-38: a redirection whose text has no end does not hold its reader', async () => {
    const { hub, source } = await startHub();
    const file = await source.open('config.json', 3);
    const location = '/lab/model/resolve/5e1f/config.json';
    hub.faults.push({ kind: 'redirect', status: 301, location, isEndless: true });
    hub.choose = undefined;
    await file.read(new Uint8Array(1), 0, 1);
    expect(hub.requests.length).toBe(2);
  });
});

describe('TLS', () => {
  function certificateFor(role: string): { key: string; cert: string } {
    const keys = rsaKeys(role);
    const der = issueCertificate(
      { name: role, keys },
      {
        subject: role,
        keys,
        extensions: [{ name: 'subjectAltName', altNames: [{ type: 7, ip: '127.0.0.1' }] }],
      },
    );
    const cert = `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString('base64')}\n-----END CERTIFICATE-----\n`;
    const key = forge.pki.privateKeyToPem(keys.privateKey);
    return { key, cert };
  }

  it('a mirror that TLS does not prove is refused at once, and one that it does is read', async () => {
    const tls = certificateFor('mirror');
    const files = new Map([...sealed].map(([path, bytes]) => [`pub/${path}`, bytes]));
    const server = await startRangeServer(files, { tls });
    expect(await refusalCodeAsync(() => SealedBundle.open(sourceAt(server), TRUST))).toBe(
      'source-not-trusted',
    );
    expect(server.requests).toEqual([]);
    const trusted = sourceAt(server, { authorityCertificates: tls.cert });
    await (await SealedBundle.open(trusted, TRUST)).verify();
  });
});
