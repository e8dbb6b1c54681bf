/** Salted sessions on a TPM in software, with somebody on the way to it (docs/spec/tpm-agent.md, TA-20 to TA-24). */

import { randomBytes } from 'node:crypto';

import { p256 } from '@noble/curves/nist.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { concatBytes, toHex } from '../../../attestation/core/bytes.ts';
import { Algorithm } from '../../../attestation/tpm/layout.ts';
import { makeCredential, credentialRandomnessBytes } from '../../../attestation/tpm/credential.ts';
import { attestationKeyTemplates, endorsementKeyTemplates } from '../../../attestation/tpm/templates.ts';
import { openTpm } from '../../../native/tpm/open.ts';
import type { TpmTransport } from '../../../native/tpm/transport.ts';
import * as commands from '../../../native/tpm-commands/commands.ts';
import { SaltKey } from '../../../native/tpm-commands/salt-key.ts';
import { type LoadedKey, Tpm } from '../../../native/tpm-commands/tpm.ts';
import { refusalCode, refusalCodeAsync } from '../../support/refusal-code.ts';
import { startTestTpm, swtpmMissing, type TestTpm } from '../../support/swtpm.ts';

if (swtpmMissing !== undefined) process.stderr.write(`skipped: ${swtpmMissing}\n`);

const { Handle, HandleRange } = commands;
const ENDORSEMENT_KEYS = { 'L-1': 0x81010001, 'H-3': 0x81010016 } as const;
type Certified = keyof typeof ENDORSEMENT_KEYS;

/** Somebody between the program and the TPM, who sees everything and may change it. */
class Interposer implements TpmTransport {
  readonly address = 'test';
  readonly seen: Uint8Array[] = [];
  changeCommand: (code: number, command: Uint8Array) => Uint8Array = (_, command) => command;
  changeResponse: (code: number, response: Uint8Array) => Uint8Array = (_, response) => response;
  private readonly inner: TpmTransport;

  constructor(inner: TpmTransport) {
    this.inner = inner;
  }

  async transmit(command: Uint8Array): Promise<Uint8Array> {
    const code = Buffer.from(command).readUInt32BE(6);
    const sent = this.changeCommand(code, command);
    const response = this.changeResponse(code, await this.inner.transmit(sent));
    this.seen.push(sent, response);
    return response;
  }

  /** Whether these bytes went over the bus. */
  saw(bytes: Uint8Array): boolean {
    return this.seen.some((message) => Buffer.from(message).includes(Buffer.from(bytes)));
  }

  stopChanging(): void {
    this.changeCommand = (_, command) => command;
    this.changeResponse = (_, response) => response;
    this.seen.length = 0;
  }

  close(): Promise<void> {
    return this.inner.close();
  }
}

function flipLast(bytes: Uint8Array, back = 1): Uint8Array {
  const changed = Uint8Array.from(bytes);
  changed[changed.length - back] = (changed[changed.length - back] ?? 0) ^ 1;
  return changed;
}

/** A success with these parameters, whose nonce and HMAC are made up. */
function forgedResponse(parameters: Uint8Array, attributes: number): Uint8Array {
  const digest = concatBytes(Uint8Array.of(0, 32), randomBytes(32));
  const body = concatBytes(parameters, digest, Uint8Array.of(attributes), digest);
  const head = Buffer.alloc(14);
  head.writeUInt16BE(0x8002, 0);
  head.writeUInt32BE(head.length + body.length, 2);
  head.writeUInt32BE(parameters.length, 10);
  return concatBytes(head, body);
}

describe.skipIf(swtpmMissing !== undefined)('a salted session', () => {
  let simulator: TestTpm;
  let bus: Interposer;
  let tpm: Tpm;

  beforeAll(async () => {
    simulator = await startTestTpm();
    bus = new Interposer(await openTpm(simulator.tpm.address));
    tpm = Tpm.over(bus);
  });
  afterAll(async () => {
    await tpm.close();
    await simulator.remove();
  });

  /** The endorsement key, as a verified certificate would give it. */
  async function endorsementKey(name: Certified): Promise<LoadedKey> {
    return tpm.readPublic(ENDORSEMENT_KEYS[name]);
  }
  async function saltKey(name: Certified = 'L-1'): Promise<SaltKey> {
    const { handle, publicArea } = await endorsementKey(name);
    if (publicArea.type === Algorithm.keyedHash) throw new Error('not an endorsement key');
    return SaltKey.ofVerifiedArea(handle, publicArea);
  }
  async function pcr(number: number): Promise<string> {
    const select = Uint8Array.of(0, number >> 3 === 1 ? 1 << (number & 7) : 0, 0);
    const [value] = await tpm.readPcrs([{ hash: Algorithm.sha256, select }]);
    return toHex(value?.value ?? new Uint8Array(0));
  }

  it.each(['L-1', 'H-3'] as const)('TA-20: is made with an endorsement key of %s', async (name) => {
    const random = await tpm.withSaltedSession(await saltKey(name), async (own) => {
      await own.extendPcr(8, new Uint8Array(32).fill(1));
      await own.handles(HandleRange.persistent, 8);
      return [await own.random(32), await own.random(32)];
    });
    expect(random.map(({ length }) => length)).toEqual([32, 32]);
    expect(bus.saw(random[0]!)).toBe(false);
    expect(await tpm.handles(0x02000000, 8)).toEqual([]);
    expect(await pcr(8)).not.toBe('00'.repeat(32));
  });

  it('TA-22: hides what an activated credential holds, and what a key is made of', async () => {
    const ek = await endorsementKey('L-1');
    if (ek.publicArea.type === Algorithm.keyedHash) throw new Error('not an endorsement key');
    const key = await tpm.createPrimary(Handle.endorsement, attestationKeyTemplates['ecc-p256']);
    const secret = randomBytes(32);
    const randomness = randomBytes(credentialRandomnessBytes(ek.publicArea));
    const credential = await makeCredential(ek.publicArea, key.name, secret, randomness);
    const { credentialBlob, encryptedSecret } = credential;
    const activate = (own: Tpm): Promise<Uint8Array> =>
      own.activateCredential(key, ek, credentialBlob, encryptedSecret);
    bus.stopChanging();
    expect(
      toHex(
        await tpm.flushAfter(key.handle, async () => {
          const opened = await tpm.withSaltedSession(await saltKey(), activate);
          expect(bus.saw(secret)).toBe(false);
          expect(bus.saw(credentialBlob)).toBe(false);
          expect(toHex(await activate(tpm))).toBe(toHex(secret));
          expect(bus.saw(secret)).toBe(true);
          return opened;
        }),
      ),
    ).toBe(toHex(secret));
  });

  it.each([
    ['a digest of an extension', commands.pcrExtend.code, 1],
    ['the HMAC of an extension', commands.pcrExtend.code, 60],
  ])('TA-21: notices %s that was changed on the way to the TPM', async (_, code, back) => {
    const before = await pcr(9);
    const changed = tpm.withSaltedSession(await saltKey(), async (own) => {
      bus.changeCommand = (found, command) => (found === code ? flipLast(command, back) : command);
      await own.extendPcr(9, new Uint8Array(32).fill(2));
    });
    expect(await refusalCodeAsync(() => changed)).toBe('tpm-session-command');
    bus.stopChanging();
    expect(await pcr(9)).toBe(before);
  });

  it('TA-21: notices a command that was replaced by another one', async () => {
    const replaced = tpm.withSaltedSession(await saltKey(), async (own) => {
      bus.changeCommand = (code, command) => {
        const other = Buffer.from(command);
        // The same digest into PCR 10 instead of 9.
        if (code === commands.pcrExtend.code) other.writeUInt32BE(10, 10);
        return other;
      };
      await own.extendPcr(9, new Uint8Array(32).fill(3));
    });
    expect(await refusalCodeAsync(() => replaced)).toBe('tpm-session-command');
    bus.stopChanging();
    expect(await pcr(10)).toBe('00'.repeat(32));
  });

  it('TA-21: notices a response that was changed, made up, or given before', async () => {
    const work = async (change: (response: Uint8Array) => Uint8Array): Promise<string> => {
      const key = await saltKey();
      bus.changeResponse = (code, response) =>
        code === commands.getRandom.code ? change(response) : response;
      const code = await refusalCodeAsync(() =>
        tpm.withSaltedSession(key, async (own) => [await own.random(16), await own.random(16)]),
      );
      bus.stopChanging();
      return code;
    };
    // The last byte is the HMAC's; behind the random value stand 69 bytes of the session.
    expect(await work((response) => flipLast(response))).toBe('tpm-session-response');
    expect(await work((response) => flipLast(response, 75))).toBe('tpm-session-response');
    let first: Uint8Array | undefined;
    expect(await work((response) => (first ??= response))).toBe('tpm-session-response');
    const random = Uint8Array.of(0, 16, ...new Uint8Array(16));
    expect(await work(() => forgedResponse(random, 0x41))).toBe('tpm-session-response');
  });

  it('TA-21: notices an extension that was swallowed', async () => {
    const before = await pcr(9);
    const swallowed = tpm.withSaltedSession(await saltKey(), async (own) => {
      const code = commands.pcrExtend.code;
      const harmless = Uint8Array.of(0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 1);
      bus.changeCommand = (found, command) => (found === code ? harmless : command);
      bus.changeResponse = (found, response) =>
        found === code ? forgedResponse(new Uint8Array(0), 0x01) : response;
      await own.extendPcr(9, new Uint8Array(32).fill(4));
    });
    expect(await refusalCodeAsync(() => swallowed)).toBe('tpm-session-response');
    bus.stopChanging();
    expect(await pcr(9)).toBe(before);
  });

  it.each([
    ['on its own curve', 'another point', 'tpm-session-command'],
    ['of another kind', 'the endorsement key', 'tpm-session-key'],
  ])('TA-23: is of no use to a TPM with a key %s in the place of the salt key', async (_, known, code) => {
    // The salt goes to the key that is known. Whoever puts a key of his own there cannot read it.
    const own = await tpm.createPrimary(Handle.endorsement, endorsementKeyTemplates['L-2']);
    const point = p256.Point.BASE.multiply(BigInt(`0x${randomBytes(31).toString('hex')}`)).toBytes(false);
    const unique = { x: point.subarray(1, 33), y: point.subarray(33) };
    const genuine = await endorsementKey('L-1');
    await tpm.flushAfter(own.handle, async () => {
      if (own.publicArea.type !== Algorithm.ecc || genuine.publicArea.type !== Algorithm.rsa) {
        throw new Error('other kinds of keys');
      }
      const area = known === 'another point' ? { ...own.publicArea, unique } : genuine.publicArea;
      const key = SaltKey.ofVerifiedArea(own.handle, area);
      const found = await refusalCodeAsync(() => tpm.withSaltedSession(key, (inside) => inside.random(8)));
      expect(found).toBe(code);
    });
  });

  it('TA-23: is not made with a key whose kept Name is another one', async () => {
    const { handle, publicArea, name } = await endorsementKey('L-1');
    expect(SaltKey.ofKeptName(handle, publicArea, name).handle).toBe(handle);
    const other = flipLast(name);
    expect(refusalCode(() => SaltKey.ofKeptName(handle, publicArea, other))).toBe('tpm-session-key');
  });

  it('TA-10: is unloaded when the work fails', async () => {
    const failing = tpm.withSaltedSession(await saltKey(), () => Promise.reject(new Error('of the work')));
    await expect(failing).rejects.toThrow('of the work');
    expect(await tpm.handles(0x02000000, 8)).toEqual([]);
  });

  it('TA-20: keeps commands that are given at once in order', async () => {
    const numbers = await tpm.withSaltedSession(await saltKey(), (own) =>
      Promise.all(Array.from({ length: 5 }, () => own.random(8))),
    );
    expect(new Set(numbers.map(toHex)).size).toBe(5);
  });
});
