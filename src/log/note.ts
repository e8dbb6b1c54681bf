/** Signed notes (C2SP signed-note v1; TL-5, TL-6). */

import {
  concatBytes,
  equalBytes,
  excerpt,
  fromBase64,
  toBase64,
  toHex,
  toUtf8,
} from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import type { Ed25519Signer } from '../platform/ed25519.ts';
import {
  isKeyName,
  makeVerifierKey,
  signsNotes,
  verifyNoteSignature,
  type VerifierKey,
} from './verifier-key.ts';

export const noteShapeRefusals = defineRefusals('malformed', {
  'log-note-malformed': {
    means: 'A text is not a signed note.',
    hint: 'The note was cut or edited; fetch it again, byte for byte.',
  },
});

export const noteRefusals = defineRefusals('inauthentic', {
  'log-note-signature': {
    means: 'A trusted key is said to have signed a note, and did not.',
    hint: 'The note was altered, or is of another log. Do not use it; tell the operator of the log.',
  },
  'log-note-unsigned': {
    means: 'No trusted key has signed a note.',
    hint: 'Check that the verifier key that was configured is the one of this log.',
  },
});

const MAX_CHARACTERS = 1_000_000;
const MAX_SIGNATURES = 100;
const IDENTIFIER_BYTES = 4;

interface NoteSignature {
  readonly name: string;
  /** Four bytes. */
  readonly identifier: Uint8Array;
  readonly signature: Uint8Array;
}

/** What a note claims. */
export interface Note {
  /** What is signed, its last line feed included. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

/** Whoever can sign notes. The private key stays with it. */
export interface NoteSigner {
  readonly key: VerifierKey;
  sign(message: Uint8Array): Promise<Uint8Array>;
}

/**
 * The signer of a log that holds an Ed25519 key.
 *
 * @param name the origin of the log
 * @throws RefusalError `log-key-malformed` when the name cannot be that of a key
 */
export function ed25519NoteSigner(name: string, signer: Ed25519Signer): NoteSigner {
  return {
    key: makeVerifierKey(name, 'ed25519', signer.publicKey),
    sign: (message) => signer.sign(message),
  };
}

/**
 * Reads a note; nothing of it is trusted yet.
 *
 * @param note comes from whoever sent it
 * @throws RefusalError `log-note-malformed`, `base64-malformed`
 */
export function parseNote(note: string): Note {
  if (note.length > MAX_CHARACTERS) refuse('note', `at most ${MAX_CHARACTERS} characters`, `${note.length}`);
  // eslint-disable-next-line no-control-regex -- control characters are what a note must not hold
  if (!note.isWellFormed() || /[\u0000-\u0009\u000b-\u001f]/.test(note)) {
    refuse('note', 'Unicode without control characters', 'another character');
  }
  const blank = note.lastIndexOf('\n\n');
  if (blank < 0 || !note.endsWith('\n'))
    refuse('note', 'a text, an empty line and signatures', excerpt(note));
  const lines = note.slice(blank + 2, -1).split('\n');
  if (lines.length > MAX_SIGNATURES) refuse('signatures', `at most ${MAX_SIGNATURES}`, `${lines.length}`);
  return { text: note.slice(0, blank + 1), signatures: lines.map(parseSignature) };
}

function parseSignature(line: string, position: number): NoteSignature {
  const field = `signatures[${position}]`;
  const match = /^— (\S+) (\S+)$/u.exec(line);
  const [, name = '', encoded = ''] = match ?? [];
  if (match === null || !isKeyName(name)) refuse(field, '— name base64', excerpt(line));
  const bytes = fromBase64(encoded, field);
  if (bytes.length <= IDENTIFIER_BYTES) {
    refuse(field, `more than ${IDENTIFIER_BYTES} bytes`, `${bytes.length} bytes`);
  }
  return {
    name,
    identifier: bytes.subarray(0, IDENTIFIER_BYTES),
    signature: bytes.subarray(IDENTIFIER_BYTES),
  };
}

/** A line that holds. */
export interface VerifiedLine {
  readonly key: VerifierKey;
  /** What followed on the key identifier. */
  readonly signature: Uint8Array;
}

/** A note that at least one trusted key has signed. */
export interface OpenedNote {
  readonly text: string;
  /** The first line of each key, in their order. */
  readonly lines: readonly VerifiedLine[];
  /** The keys of these lines. */
  readonly signedBy: readonly VerifierKey[];
}

/** Lines of some kinds of keys, and how they are verified. */
export interface LineKinds {
  /** Lines of other keys are passed over, trusted or not. */
  readonly takes: (key: VerifierKey) => boolean;
  /** @param signature what follows on the identifier in the line; @param text with its last line feed */
  readonly verify: (key: VerifierKey, text: string, signature: Uint8Array) => Promise<boolean>;
}

/** Signatures over the text of a note, whatever it says. */
const NOTE_LINES: LineKinds = { takes: signsNotes, verify: verifyNoteSignature };

/**
 * Reads a note and verifies it.
 *
 * @param keys the keys that the reader trusts, from its own configuration,
 * @param kinds which lines count; by default signatures over the text alone
 * @throws RefusalError `log-note-*`, `base64-malformed`
 */
export async function openNote(
  note: string,
  keys: readonly VerifierKey[],
  kinds: LineKinds = NOTE_LINES,
): Promise<OpenedNote> {
  const { text, signatures } = parseNote(note);
  const candidates = keys.filter(kinds.takes);
  const lines: VerifiedLine[] = [];
  for (const line of signatures) {
    const key = findKey(candidates, line);
    if (key === undefined || lines.some((other) => other.key === key)) continue;
    if (!(await kinds.verify(key, text, line.signature))) {
      throw noteRefusals.error('log-note-signature', {
        field: 'signatures',
        expected: `a signature by ${excerpt(key.name)}+${toHex(key.identifier)}`,
        found: 'one that does not verify',
      });
    }
    lines.push({ key, signature: line.signature });
  }
  if (lines.length === 0) {
    throw noteRefusals.error('log-note-unsigned', {
      field: 'signatures',
      expected: `a signature by one of ${keys.length} trusted keys`,
      found: `${signatures.length} by others`,
    });
  }
  return { text, lines, signedBy: lines.map(({ key }) => key) };
}

function findKey(keys: readonly VerifierKey[], line: NoteSignature): VerifierKey | undefined {
  const matching = keys.filter(
    (key) => key.name === line.name && equalBytes(key.identifier, line.identifier),
  );
  // The identifier has 32 bits, so whoever makes keys can make two with the same one.
  if (matching.length > 1) {
    throw noteRefusals.error('log-note-signature', {
      field: 'signatures',
      expected: 'one trusted key for a name and identifier',
      found: `${matching.length} keys named ${excerpt(line.name)}+${toHex(line.identifier)}`,
    });
  }
  return matching[0];
}

/** The line with which a key signs a note. */
export function formatSignatureLine(
  { name, identifier }: Pick<VerifierKey, 'name' | 'identifier'>,
  signature: Uint8Array,
): string {
  return `— ${name} ${toBase64(concatBytes(identifier, signature))}\n`;
}

/**
 * Signs a text, once for each signer.
 *
 * @param text ends in a line feed
 * @throws RefusalError `log-note-malformed` when the text or a name cannot stand in a note
 */
export async function signNote(text: string, signers: readonly NoteSigner[]): Promise<string> {
  const message = toUtf8(text);
  const lines = await Promise.all(
    signers.map(async (signer) => {
      const signature = await signer.sign(message);
      return formatSignatureLine(signer.key, signature);
    }),
  );
  const note = `${text}\n${lines.join('')}`;
  if (parseNote(note).text !== text) refuse('text', 'a text that ends in a line feed', excerpt(text));
  return note;
}

function refuse(field: string, expected: string, found: string): never {
  throw noteShapeRefusals.error('log-note-malformed', { field, expected, found });
}
