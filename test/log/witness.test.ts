import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { parseAddCheckpoint } from '../../src/log/add-checkpoint.ts';
import { sha256 } from '../../src/log/sha256.ts';
import { Witness, type WitnessRecord, type WitnessState } from '../../src/log/witness.ts';
import { createWitnessState, openWitnessState } from '../../src/log/witness-state.ts';
import { verifyCosignatures } from '../../src/log/witnessed-checkpoint.ts';
import { refusalCode } from '../support/refusal-code.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { testWitnessSigner, WitnessedLog } from './witness-log.ts';

const ORIGIN = 'log.example/evaluation';
const log = new WitnessedLog(ORIGIN);
const signer = testWitnessSigner('witness.example');
const logs = [{ origin: ORIGIN, keys: [log.signer.key] }];
let now = 1_760_000_000;

async function newState(): Promise<string> {
  const path = join(await temporaryFolder(), 'witness.sqlite');
  createWitnessState(path);
  return path;
}

function witnessOn(state: WitnessState): Witness {
  return new Witness({ signers: [signer], logs, state, now: () => now });
}

async function ask(witness: Witness, from: number, size: number, of = log): Promise<string> {
  const { status, body } = await witness.addCheckpoint(await of.request(from, size));
  return status === 409 ? `409 ${body.trim()}` : String(status);
}

describe('a witness', () => {
  it('WT-10: cosigns what extends its record, and nothing else', async () => {
    const state = openWitnessState(await newState());
    const witness = witnessOn(state);
    expect(await ask(witness, 0, 3)).toBe('200');
    expect(await ask(witness, 3, 3)).toBe('200');
    expect(await ask(witness, 0, 5)).toBe('409 3');
    expect(await ask(witness, 3, 2)).toBe('400');
    expect(await ask(witness, 3, 8)).toBe('200');
    expect(await ask(witness, 5, 6)).toBe('409 8');
    expect(await ask(witness, 0, 1, new WitnessedLog('other.example'))).toBe('404');
    state.close();
  });

  it('WT-10: a forked log is refused at the same size and at a larger one', async () => {
    const state = openWitnessState(await newState());
    const witness = witnessOn(state);
    const fork = new WitnessedLog(ORIGIN, 'another ');
    expect(await ask(witness, 0, 5)).toBe('200');
    expect(await ask(witness, 5, 5, fork)).toBe('422');
    expect(await ask(witness, 5, 9, fork)).toBe('422');
    expect(await ask(witness, 5, 9)).toBe('200');
    state.close();
  });

  it('WT-11: of several requests that start from one record, one is cosigned', async () => {
    const state = openWitnessState(await newState());
    // A key in hardware takes its time; nothing else is judged meanwhile.
    const slow = {
      key: signer.key,
      cosign: async (text: string, time: bigint) => {
        await delay(20);
        return await signer.cosign(text, time);
      },
    };
    const witness = new Witness({ signers: [slow], logs, state, now: () => now });
    await ask(witness, 0, 4);
    const answers = await Promise.all([ask(witness, 4, 6), ask(witness, 4, 7), ask(witness, 4, 8)]);
    expect(answers).toEqual(['200', '409 6', '409 6']);
    expect(state.find(ORIGIN)?.size).toBe(6n);
    state.close();
  });

  it('WT-11, WT-13: remembers over a restart; a lost state is refused, and a second process', async () => {
    const path = await newState();
    const first = openWitnessState(path);
    expect(await ask(witnessOn(first), 0, 5)).toBe('200');
    expect(refusalCode(() => openWitnessState(path))).toBe('witness-state-locked');
    expect(
      refusalCode(() => {
        createWitnessState(path);
      }),
    ).toBe('witness-state-locked');
    first.close();
    expect(
      refusalCode(() => {
        createWitnessState(path);
      }),
    ).toBe('witness-state-exists');
    const second = openWitnessState(path);
    expect(await ask(witnessOn(second), 0, 5)).toBe('409 5');
    expect(await ask(witnessOn(second), 5, 7, new WitnessedLog(ORIGIN, 'another '))).toBe('422');
    second.close();
    rmSync(path);
    expect(refusalCode(() => openWitnessState(path))).toBe('witness-state-missing');
    expect(existsSync(path)).toBe(false);
  });

  it('WT-11: neither a smaller size nor another root can be written, whoever asks', async () => {
    const path = await newState();
    const state = openWitnessState(path);
    await ask(witnessOn(state), 0, 5);
    state.close();
    const database = new DatabaseSync(path);
    const size = (last: number) => Uint8Array.of(0, 0, 0, 0, 0, 0, 0, last);
    const update = database.prepare('UPDATE records SET size = ?, root = ?');
    expect(() => update.run(size(4), new Uint8Array(32))).toThrow('records only grow');
    expect(() => update.run(size(5), new Uint8Array(32))).toThrow('records only grow');
    expect(() => {
      database.exec('DELETE FROM records');
    }).toThrow('never deleted');
    update.run(size(6), new Uint8Array(32));
    database.close();
  });

  it('WT-11: a record that was moved by another is not overwritten', async () => {
    const state = openWitnessState(await newState());
    const record = { size: 3n, root: new Uint8Array(32), note: 'a', time: 1n };
    state.advance(ORIGIN, undefined, record);
    const next = { ...record, size: 4n };
    expect(
      refusalCode(() => {
        state.advance(ORIGIN, undefined, next);
      }),
    ).toBe('witness-state-moved');
    expect(
      refusalCode(() => {
        state.advance(ORIGIN, 2n, next);
      }),
    ).toBe('witness-state-moved');
    state.advance(ORIGIN, 3n, { ...next, size: (1n << 64n) - 1n });
    expect(state.find(ORIGIN)?.size).toBe((1n << 64n) - 1n);
    state.close();
  });

  it('WT-12: after a write that failed it answers nothing but 503', async () => {
    const records = new Map<string, WitnessRecord>();
    const closed = openWitnessState(await newState());
    const failing: WitnessState = {
      find: (origin) => records.get(origin),
      advance: (origin, before, record) => {
        closed.close();
        closed.advance(origin, before, record);
      },
    };
    const witness = witnessOn(failing);
    expect(await ask(witness, 0, 1)).toBe('503');
    expect(await ask(witness, 0, 1)).toBe('503');
    expect(records.size).toBe(0);
  });

  it('WT-14: its times never go back, and are never zero', async () => {
    const state = openWitnessState(await newState());
    const witness = witnessOn(state);
    const timeOf = async (from: number, size: number): Promise<bigint | undefined> => {
      const { body } = await witness.addCheckpoint(await log.request(from, size));
      const [cosignature] = await verifyCosignatures(`${await log.note(size)}${body}`, [signer.key]);
      return cosignature?.time;
    };
    now = 0;
    expect(await timeOf(0, 1)).toBe(1n);
    now = 1_760_000_000;
    expect(await timeOf(1, 2)).toBe(1_760_000_000n);
    now -= 1000;
    expect(await timeOf(2, 3)).toBe(1_760_000_000n);
    state.close();
  });

  it('WT-15: shows the newest cosigned checkpoint, without lines of others', async () => {
    const state = openWitnessState(await newState());
    const witness = witnessOn(state);
    const digest = toHex(sha256(toUtf8(ORIGIN)));
    expect(witness.monitoredCheckpoint(digest)).toBeUndefined();
    const other = await new WitnessedLog('mallory.example').note(1);
    const line = other.slice(other.indexOf('\n\n') + 2);
    const request = Buffer.concat([await log.request(0, 2), toUtf8(line)]);
    const { status, body } = await witness.addCheckpoint(request);
    expect(status).toBe(200);
    expect(witness.monitoredCheckpoint(digest)).toBe(`${await log.note(2)}${body}`);
    expect(witness.monitoredCheckpoint(toHex(sha256(toUtf8('other'))))).toBeUndefined();
    state.close();
  });

  it('WT-11: killed at any moment, it never forgets what it answered', async () => {
    const path = await newState();
    let answered = 0;
    for (let round = 0; round < 3; round += 1) {
      const program = join(import.meta.dirname, 'cosign-until-killed.ts');
      const child = spawn(process.execPath, [program, path, ORIGIN], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let output = '';
      child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
        output += chunk;
        if (output.split('\n').length > 5 + round) child.kill('SIGKILL');
      });
      await once(child, 'close');
      const last = Number(output.split('\n').slice(0, -1).at(-1));
      expect(last).toBeGreaterThan(answered);
      answered = last;
      const state = openWitnessState(path);
      expect(state.find(ORIGIN)?.size).toBeGreaterThanOrEqual(BigInt(answered));
      expect(await ask(witnessOn(state), answered - 1, answered + 9)).toMatch(/^409 /);
      state.close();
    }
  }, 60_000);

  it('WT-10: whatever is changed in a request, it is refused, or means the same', async () => {
    const request = await log.request(3, 8);
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: request.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        async (at, flip) => {
          const records = new Map<string, WitnessRecord>();
          const witness = witnessOn({
            find: (origin) => records.get(origin),
            advance: (origin, _before, record) => void records.set(origin, record),
          });
          await ask(witness, 0, 3);
          const changed = request.map((byte, i) => (i === at ? byte ^ flip : byte));
          const { status } = await witness.addCheckpoint(changed);
          if (status === 200)
            expect(parseAddCheckpoint(changed).body).toEqual(parseAddCheckpoint(request).body);
          else expect([400, 403, 404, 409, 422]).toContain(status);
        },
      ),
      { numRuns: 60 },
    );
  });
});
