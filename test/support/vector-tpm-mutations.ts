/** The mutations of the manifest, read from its words: what is changed in a quote, and how it then has to be refused. */

import { concatBytes, equalBytes, fromBase64 } from '../../attestation/core/bytes.ts';
import type { PublicKey } from '../../attestation/core/public-key.ts';
import { askQuote, explainQuote, signatureValid } from './vector-tpm-quote-part.ts';
import type { QuotePart } from './vector-tpm-quote-part.ts';
import type { TpmMutation } from './vector-tpm-manifest.ts';
import type { VectorLine } from './vector-runner.ts';

/** A changed quote, or why there is nothing to change in this one. */
type Edited = QuotePart | string;

interface EditRule {
  readonly phrase: RegExp;
  readonly edit: (part: QuotePart, words: RegExpExecArray) => Edited | Promise<Edited>;
}

const withAttest = (part: QuotePart, attest: Uint8Array): QuotePart => ({ ...part, attest });

function withByte(bytes: Uint8Array, at: number, change: (byte: number) => number): Uint8Array {
  if (at < 0 || at >= bytes.length) throw new Error(`there is no byte ${at}`);
  return bytes.map((byte, i) => (i === at ? change(byte) : byte));
}

const flip = (byte: number): number => byte ^ 1;

const RULES: readonly EditRule[] = [
  {
    phrase: /^[\w-]+: XOR (0x[0-9a-f]{2}) into attest byte (\d+)$/i,
    edit: (part, [, mask, at]) =>
      withAttest(
        part,
        withByte(part.attest, Number(at), (byte) => byte ^ Number(mask)),
      ),
  },
  {
    phrase: /^flip-last-byte-of-pcrDigest$/,
    // It ends the statement.
    edit: (part) => withAttest(part, withByte(part.attest, part.attest.length - 1, flip)),
  },
  {
    phrase: /^magic: set attest byte (\d+) to (0x[0-9a-f]{2})$/i,
    edit: (part, [, at, value]) =>
      withAttest(
        part,
        withByte(part.attest, Number(at), () => Number(value)),
      ),
  },
  {
    phrase: /^type: attest bytes (\d+)-(\d+) to 0x([0-9a-f]{2})([0-9a-f]{2})$/i,
    edit: (part, [, first, second, high, low]) => {
      const changed = withByte(part.attest, Number(first), () => Number(`0x${high}`));
      return withAttest(
        part,
        withByte(changed, Number(second), () => Number(`0x${low}`)),
      );
    },
  },
  {
    phrase: /^append one zero byte to attest$/,
    edit: (part) => withAttest(part, concatBytes(part.attest, new Uint8Array(1))),
  },
  {
    phrase: /^cut last byte of attest$/,
    edit: (part) => withAttest(part, part.attest.subarray(0, -1)),
  },
  {
    phrase: /^flip last signature byte$/,
    edit: (part) => ({ ...part, signature: withByte(part.signature, part.signature.length - 1, flip) }),
  },
  {
    phrase: /^expect another nonce$/,
    edit: (part) => ({ ...part, nonce: concatBytes(part.nonce, Uint8Array.of(1)) }),
  },
  {
    phrase: /^verify with a fresh key of the same type$/,
    edit: async (part) =>
      part.key === undefined
        ? 'the key is refused before any signature is looked at'
        : { ...part, key: { ...part.key, publicKey: await freshKey(part.key.publicKey) } },
  },
  { phrase: /^change one bit of the first selected PCR value$/, edit: withOtherValue },
];

function withOtherValue(part: QuotePart): Edited {
  const [first] = part.pcrs ?? [];
  if (first === undefined) return 'the entry gives no values';
  const [pcr, value] = first;
  return { ...part, pcrs: new Map([...(part.pcrs ?? []), [pcr, withByte(value, 0, flip)]]) };
}

async function freshKey(key: PublicKey): Promise<PublicKey> {
  const algorithm =
    key.type === 'ec'
      ? { name: 'ECDSA', namedCurve: key.curve }
      : {
          name: 'RSASSA-PKCS1-v1_5',
          modulusLength: key.modulus.length * 8,
          publicExponent: Uint8Array.of(1, 0, 1),
          hash: 'SHA-256',
        };
  const pair = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const jwk = await crypto.subtle.exportKey('jwk', pair.publicKey);
  if (key.type === 'rsa') return { type: 'rsa', modulus: fromBase64Url(jwk.n) };
  return { ...key, x: fromBase64Url(jwk.x), y: fromBase64Url(jwk.y) };
}

function fromBase64Url(digits = ''): Uint8Array {
  const ordinary = digits.replaceAll('-', '+').replaceAll('_', '/');
  return fromBase64(ordinary.padEnd(Math.ceil(ordinary.length / 4) * 4, '='), 'jwk');
}

/** Refusal codes by the manifest's word; a `*` at the end stands for all codes that begin so. */
const CODES: Readonly<Record<string, readonly string[]>> = {
  'bad-signature': ['tpm-quote-signature'],
  'bad-magic': ['tpm-quote-magic'],
  'bad-type': ['tpm-quote-type'],
  'malformed-attest': ['layout-*'],
  'nonce-mismatch': ['tpm-quote-binding'],
  'pcr-digest-mismatch': ['tpm-quote-digest'],
};

function isRefusedAs(codes: readonly string[], words: string): boolean {
  const patterns = words.split('|').flatMap((word) => CODES[word] ?? []);
  return codes.some((code) =>
    patterns.some((pattern) =>
      pattern.endsWith('*') ? code.startsWith(pattern.slice(0, -1)) : code === pattern,
    ),
  );
}

/** What came of one mutation of one quote. */
export async function mutationLine(
  id: string,
  part: QuotePart,
  { change, refusedAs }: TpmMutation,
): Promise<VectorLine> {
  const subject = `${id}~${change}`;
  const expected = `refused as ${refusedAs}`;
  const edited = await editOf(part, change);
  if (typeof edited === 'string')
    return { subject, expected, got: 'no change', code: '-', agrees: false, explanation: edited };
  if (edited === undefined)
    return { subject, expected, got: 'no rule for these words', code: '-', agrees: false };
  if (!isChanged(part, edited))
    return { subject, expected, got: 'a change that changes nothing', code: '-', agrees: false };
  const codes = await askQuote(edited);
  const line = {
    subject,
    expected,
    got: codes.length === 0 ? 'accepted' : 'refused',
    code: codes.join(' ') || '-',
    agrees: isRefusedAs(codes, refusedAs),
  };
  const explanation = line.agrees ? undefined : await explain(edited, codes, refusedAs);
  return explanation === undefined ? line : { ...line, explanation };
}

/** Why another refusal than the stated one is right. */
async function explain(
  edited: QuotePart,
  codes: readonly string[],
  refusedAs: string,
): Promise<string | undefined> {
  const isUnreadable = codes.every((code) => code.startsWith('layout-')) && codes.length > 0;
  const isAboutSignature = refusedAs.split('|').includes('bad-signature');
  if (isUnreadable && isAboutSignature && (await signatureValid(edited)) === false)
    return 'it is refused while it is read; its signature does not hold either';
  return explainQuote(edited, codes);
}

async function editOf(part: QuotePart, change: string): Promise<Edited | undefined> {
  for (const { phrase, edit } of RULES) {
    const words = phrase.exec(change);
    if (words !== null) return edit(part, words);
  }
  return undefined;
}

function isChanged(before: QuotePart, after: QuotePart): boolean {
  const isSame =
    equalBytes(before.attest, after.attest) &&
    equalBytes(before.signature, after.signature) &&
    equalBytes(before.nonce, after.nonce) &&
    before.key === after.key &&
    before.pcrs === after.pcrs;
  return !isSame;
}
