import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { concatBytes, fromHex, toBase64, toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { formatCheckpointBody, parseCheckpointBody } from '../../src/log/checkpoint-body.ts';
import { openCheckpoint, signCheckpoint } from '../../src/log/checkpoint.ts';
import { EMPTY_ROOT, leafHash } from '../../src/log/merkle.ts';
import { openNote, parseNote, signNote } from '../../src/log/note.ts';
import { verifyEd25519Portably } from '../../src/log/signature.ts';
import { formatTlogProof, parseTlogProof, verifyTlogProof } from '../../src/log/tlog-proof.ts';
import { formatVerifierKey, parseVerifierKey } from '../../src/log/verifier-key.ts';
import { verifyEd25519 } from '../../src/platform/ed25519.ts';
import { refusalCode, refusalCodeAsync } from '../support/refusal-code.ts';
import { testSigner } from './test-signer.ts';

const alpha = testSigner('vectors.example/alpha');
const beta = testSigner('vectors.example/beta');
const entry = toUtf8('the only entry');
const head = { size: 1n, root: leafHash(entry) };
const trust = { origin: alpha.key.name, keys: [alpha.key], witnesses: 'not-required' } as const;

/** Changes one UTF-16 unit of a text. */
function mutate(text: string, position: number, unit: number): string {
  const at = position % text.length;
  return text.slice(0, at) + String.fromCharCode(unit) + text.slice(at + 1);
}

describe('verifier key', () => {
  it('TL-7: formats and parses back, with the identifier that others compute', () => {
    const line = formatVerifierKey(alpha.key);
    expect(line).toBe('vectors.example/alpha+1680eb96+AZUG2hSDqc1mFCL96q0MOGFJpjuF8tMw6wpn1obwsP17');
    expect(parseVerifierKey(line, 'key')).toEqual(alpha.key);
  });

  it('TL-7: whatever stands in a key, only refusals come out', () => {
    const line = formatVerifierKey(alpha.key);
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 0, max: 0xffff }), (position, unit) => {
        const changed = mutate(line, position, unit);
        const code = refusalCode(() => parseVerifierKey(changed, 'key'));
        expect(code === 'accepted').toBe(changed === line);
      }),
      { numRuns: 2000 },
    );
    fc.assert(fc.property(fc.string(), (text) => void refusalCode(() => parseVerifierKey(text, 'key'))));
  });
});

describe('Ed25519', () => {
  it('TL-8: refuses low order, which lax verifiers take for a signature of any message', async () => {
    const identityPoint = Uint8Array.from([1, ...new Uint8Array(31)]);
    const signature = Uint8Array.from([...identityPoint, ...new Uint8Array(32)]);
    expect(await verifyEd25519Portably(identityPoint, toUtf8('anything'), signature)).toBe(false);
  });

  it('TL-8: refuses a key of mixed order where the equation holds only with the cofactor', async () => {
    // Vector 51 of C2SP/CCTV, ed25519.
    const key = fromHex('10eb7c3acfb2bed3e0d6ab89bf5a3d6afddd1176ce4812e38d9fd485058fdb1f', 'key');
    const signature = fromHex(
      'b62cf890de42c413b11b1411c9f01f1c4d77aa87ef182258d1251f69af2a3506' +
        '030b03796b78f7afeadfccaedc9d09ce6d487d1ece1f16b1ae2b59b7e5c40603',
      'signature',
    );
    expect(await verifyEd25519Portably(key, toUtf8('ed25519vectors 3'), signature)).toBe(false);
  });

  it('TL-8: judges any bytes as the verifier of the platform does, and never throws', async () => {
    const message = toUtf8('message');
    const good = await alpha.sign(message);
    expect(await verifyEd25519Portably(alpha.key.publicKey, message, good)).toBe(true);
    await fc.assert(
      fc.asyncProperty(fc.nat(95), fc.integer({ min: 1, max: 255 }), async (position, change) => {
        const both = concatBytes(alpha.key.publicKey, good);
        both[position]! ^= change;
        const [key, signature] = [both.subarray(0, 32), both.subarray(32)];
        expect(await verifyEd25519Portably(key, message, signature)).toBe(false);
        expect(verifyEd25519(key, message, signature)).toBe(false);
      }),
    );
    expect(await verifyEd25519Portably(alpha.key.publicKey.subarray(1), message, good)).toBe(false);
    expect(await verifyEd25519Portably(alpha.key.publicKey, message, good.subarray(1))).toBe(false);
  });
});

describe('note', () => {
  it('TL-6: opens with any of its signers and counts a key once', async () => {
    const note = await signNote('text\n', [alpha, beta, alpha]);
    const opened = await openNote(note, [beta.key, alpha.key]);
    expect(opened.text).toBe('text\n');
    expect(opened.signedBy).toEqual([alpha.key, beta.key]);
    expect((await openNote(note, [beta.key])).signedBy).toEqual([beta.key]);
  });

  it('TL-6: a trusted key that did not sign spoils the note, an unknown one does not', async () => {
    const good = await signNote('text\n', [alpha]);
    const forged = `${good}— ${beta.key.name} ${toBase64(concatBytes(beta.key.identifier, new Uint8Array(64)))}\n`;
    expect((await openNote(forged, [alpha.key])).signedBy).toEqual([alpha.key]);
    expect(await refusalCodeAsync(() => openNote(forged, [alpha.key, beta.key]))).toBe('log-note-signature');
    expect(await refusalCodeAsync(() => openNote(forged, []))).toBe('log-note-unsigned');
  });

  it('TL-5: 100 signatures are read and 101 are refused', async () => {
    const many = await signNote(
      'text\n',
      Array.from({ length: 100 }, () => alpha),
    );
    expect((await openNote(many, [alpha.key])).signedBy).toHaveLength(1);
    const tooMany = many + many.slice(many.lastIndexOf('—'));
    expect(refusalCode(() => parseNote(tooMany))).toBe('log-note-malformed');
  });

  it('TL-5: refuses to sign what could not be read back', async () => {
    for (const text of ['', 'no line feed', 'tab\there\n', '\ud800\n']) {
      expect(await refusalCodeAsync(() => signNote(text, [alpha]))).toBe('log-note-malformed');
    }
  });

  it('TL-5: whatever is changed in a note, it is refused or says the same', async () => {
    const note = await signNote('text of the note\n', [alpha]);
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.integer({ min: 0, max: 0xffff }), async (position, unit) => {
        const changed = mutate(note, position, unit);
        const code = await refusalCodeAsync(() => openNote(changed, [alpha.key]));
        expect(code === 'accepted').toBe(changed === note);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('checkpoint', () => {
  it('TL-9: writes three lines and reads them back', async () => {
    const note = await signCheckpoint('vectors.example/alpha', head, [alpha]);
    const opened = await openCheckpoint(note, trust);
    expect(opened).toMatchObject({ ...head, origin: trust.origin, extensionLines: [], note });
    expect(formatCheckpointBody('o', { size: 0n, root: EMPTY_ROOT }).split('\n')).toHaveLength(4);
  });

  it('TL-9: size zero goes only with the root of the empty tree', () => {
    const body = formatCheckpointBody('o', { size: 0n, root: new Uint8Array(32) });
    expect(refusalCode(() => parseCheckpointBody(body))).toBe('log-checkpoint-malformed');
  });

  it('TL-10: the right key over another origin is refused', async () => {
    const note = await signCheckpoint('vectors.example/alpha/test', head, [alpha]);
    expect(await refusalCodeAsync(() => openCheckpoint(note, trust))).toBe('log-checkpoint-origin');
  });

  it('TL-9: any text gives a body or a refusal', () => {
    const lines = fc.array(fc.oneof(fc.string(), fc.constantFrom('', '0', '0x3', toBase64(EMPTY_ROOT))));
    fc.assert(
      fc.property(lines, (parts) => {
        const code = refusalCode(() => parseCheckpointBody(`${parts.join('\n')}\n`));
        expect(code).toMatch(/^(accepted|log-checkpoint-malformed|log-number-malformed|base64-malformed)$/);
      }),
    );
  });
});

describe('offline proof', () => {
  it('TL-15: verifies with the entry, the origin and the key alone', async () => {
    const checkpoint = await signCheckpoint(trust.origin, head, [alpha]);
    const text = formatTlogProof({ index: 0n, hashes: [], checkpoint });
    const verified = await verifyTlogProof(entry, text, trust);
    expect(verified.index).toBe(0n);
    expect(toHex(verified.leafHash)).toBe(toHex(head.root));
    expect(verified.checkpoint.size).toBe(1n);
    expect(await refusalCodeAsync(() => verifyTlogProof(toUtf8('other'), text, trust))).toBe(
      'log-inclusion-invalid',
    );
  });

  it('TL-14: every proof parses back to what was written', () => {
    const proofs = fc.record({
      extra: fc.option(fc.uint8Array(), { nil: undefined }),
      index: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      hashes: fc.array(fc.uint8Array({ minLength: 32, maxLength: 32 }), { maxLength: 63 }),
      checkpoint: fc.string(),
    });
    fc.assert(
      fc.property(proofs, (proof) => {
        expect(parseTlogProof(formatTlogProof(proof))).toEqual(proof);
      }),
    );
  });

  it('TL-15: whatever is changed in a proof, it is refused', async () => {
    const checkpoint = await signCheckpoint(trust.origin, head, [alpha]);
    const text = formatTlogProof({ index: 0n, hashes: [], checkpoint });
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.integer({ min: 0, max: 0xffff }), async (position, unit) => {
        const changed = mutate(text, position, unit);
        const code = await refusalCodeAsync(() => verifyTlogProof(entry, changed, trust));
        expect(code === 'accepted').toBe(changed === text);
      }),
      { numRuns: 1000 },
    );
  });
});
