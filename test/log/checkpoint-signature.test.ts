import { p256 } from '@noble/curves/nist.js';
import { ml_dsa44 } from '@noble/post-quantum/ml-dsa.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { concatBytes, fromHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { formatCheckpointBody, parseCheckpointBody } from '../../src/log/checkpoint-body.ts';
import { openCheckpoint } from '../../src/log/checkpoint.ts';
import { cosignedSubtree, readCosignature, writeCosignature } from '../../src/log/checkpoint-signature.ts';
import { formatSignatureLine, parseNote, signNote } from '../../src/log/note.ts';
import { sha256 } from '../../src/log/sha256.ts';
import { makeVerifierKey } from '../../src/log/verifier-key.ts';
import { verifyCosignatures } from '../../src/log/witnessed-checkpoint.ts';
import { refusalCode, refusalCodeAsync } from '../support/refusal-code.ts';
import { testWitnessSigner, WitnessedLog } from './witness-log.ts';

const TIME = 1_760_000_000n;
const log = new WitnessedLog('log.example/evaluation');
const signer = testWitnessSigner('witness.example');

async function cosigned(note: string): Promise<string> {
  const { text } = parseNote(note);
  return `${note}${formatSignatureLine(signer.key, await signer.cosign(text, TIME))}`;
}

describe('cosignatures', () => {
  it('WT-1: are a time and a signature of fixed length', () => {
    for (const [algorithm, length] of [
      ['ed25519-cosignature', 64],
      ['ml-dsa-44-cosignature', 2420],
    ] as const) {
      const cosignature = { time: TIME, signature: new Uint8Array(length).fill(7) };
      const payload = writeCosignature(cosignature, algorithm);
      expect(payload).toHaveLength(8 + length);
      expect(readCosignature(payload, algorithm)).toEqual(cosignature);
      expect(refusalCode(() => readCosignature(payload.subarray(1), algorithm))).toBe('layout-truncated');
      expect(refusalCode(() => readCosignature(Uint8Array.of(...payload, 0), algorithm))).toBe(
        'layout-trailing',
      );
      const late = payload.map((byte, i) => (i === 0 ? 0x80 : byte));
      expect(refusalCode(() => readCosignature(late, algorithm))).toBe('layout-value');
    }
  });

  it('WT-2, WT-4: hold for the note that was cosigned, and for no other', async () => {
    const note = await cosigned(await log.note(5));
    expect(await verifyCosignatures(note, [signer.key])).toEqual([{ key: signer.key, time: TIME }]);
    expect(await verifyCosignatures(await log.note(5), [signer.key])).toEqual([]);
    const line = note.slice((await log.note(5)).length);
    const moved = `${await log.note(6)}${line}`;
    expect(await refusalCodeAsync(() => verifyCosignatures(moved, [signer.key]))).toBe('log-note-signature');
    expect(await verifyCosignatures(moved, [testWitnessSigner('other.example').key])).toEqual([]);
    expect(await verifyCosignatures(`${note}${line}`, [signer.key])).toHaveLength(1);
  });

  it('WT-3: are not accepted on another text than a checkpoint', async () => {
    const note = await cosigned(await signNote('a text\nthat is no checkpoint\n', [log.signer]));
    expect(await refusalCodeAsync(() => verifyCosignatures(note, [signer.key]))).toBe('log-note-signature');
  });

  it('WT-4: a witness does not stand in for the log', async () => {
    const { text } = parseNote(await log.note(5));
    const only = `${text}\n${formatSignatureLine(signer.key, await signer.cosign(text, TIME))}`;
    const trust = { origin: 'log.example/evaluation', keys: [log.signer.key, signer.key] };
    expect(await refusalCodeAsync(() => openCheckpoint(only, trust))).toBe('log-note-unsigned');
  });

  it('WT-2: ML-DSA-44 names the cosigner, the origin, the time and the tree', async () => {
    const { secretKey, publicKey } = ml_dsa44.keygen(sha256(toUtf8('seed')));
    const key = makeVerifierKey('pq.example', 'ml-dsa-44-cosignature', publicKey);
    const note = await log.note(5);
    const body = parseCheckpointBody(parseNote(note).text);
    const lineOf = (name: string, of: typeof body, time: bigint): string => {
      const signature = ml_dsa44.sign(cosignedSubtree(name, of, time), secretKey);
      return formatSignatureLine(key, writeCosignature({ time: TIME, signature }, 'ml-dsa-44-cosignature'));
    };
    const verify = (line: string) => refusalCodeAsync(() => verifyCosignatures(`${note}${line}`, [key]));
    expect(await verify(lineOf('pq.example', body, TIME))).toBe('accepted');
    expect(await verify(lineOf('other.example', body, TIME))).toBe('log-note-signature');
    expect(await verify(lineOf('pq.example', { ...body, origin: 'o' }, TIME))).toBe('log-note-signature');
    expect(await verify(lineOf('pq.example', { ...body, size: 6n }, TIME))).toBe('log-note-signature');
    expect(await verify(lineOf('pq.example', body, TIME + 1n))).toBe('log-note-signature');
  });

  it('WT-5: a tree head of RFC 6962 holds for the log that its key is named after alone', async () => {
    const secret = sha256(toUtf8('tree head'));
    const prefix = fromHex('3059301306072a8648ce3d020106082a8648ce3d030107034200', 'prefix');
    const information = concatBytes(prefix, p256.getPublicKey(secret, false));
    const { size, root } = parseCheckpointBody(parseNote(await log.note(5)).text);
    const milliseconds = fromHex('0000019b71b44c00', 'milliseconds');
    const head = concatBytes(Uint8Array.of(0, 1), milliseconds, fromHex('0000000000000005', 'size'), root);
    const signature = p256.sign(head, secret, { format: 'der' });
    const line = concatBytes(milliseconds, Uint8Array.of(4, 3, 0, signature.length), signature);
    const open = (name: string, origin: string, of = size): Promise<string> => {
      const key = makeVerifierKey(name, 'rfc6962-tree-head', information);
      const note = `${formatCheckpointBody(origin, { size: of, root })}\n${formatSignatureLine(key, line)}`;
      return refusalCodeAsync(() => openCheckpoint(note, { origin, keys: [key] }));
    };
    expect(await open('ct.example', 'ct.example')).toBe('accepted');
    expect(await open('ct.example', 'other.example')).toBe('log-note-signature');
    expect(await open('ct.example', 'ct.example', 6n)).toBe('log-note-signature');
  });

  it('WT-4: whatever is changed in a cosigned note, nothing else counts as cosigned', async () => {
    const note = toUtf8(await cosigned(await log.note(5)));
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: note.length - 1 }),
        fc.integer({ min: 1, max: 127 }),
        async (at, flip) => {
          const changed = Buffer.from(note.map((byte, i) => (i === at ? byte ^ flip : byte))).toString();
          const found = await verifyCosignatures(changed, [signer.key]).catch(() => []);
          if (found.length > 0)
            expect(parseNote(changed).text).toBe(parseNote(Buffer.from(note).toString()).text);
        },
      ),
      { numRuns: 200 },
    );
  });
});
