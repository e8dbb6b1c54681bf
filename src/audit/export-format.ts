/**
 * One file with a part of a log that verifies without its server (docs/spec/audit.md, section 2): lines of canonical
 * JSON, a header, an entry each, a trailer. It holds no key: whoever verifies it brings the pinned one.
 */

import { z } from 'zod';

import { fromBase64, toBase64, toUtf8 } from '../../attestation/core/bytes.ts';
import {
  decodeCanonicalJson,
  encodeCanonicalJson,
  type JsonValue,
} from '../../attestation/core/canonical-json.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { readShape } from '../platform/shape.ts';

export const exportRefusals = defineRefusals('malformed', {
  'export-cut': {
    means: 'An export of a log ends before its trailer, or its trailer counts other entries than it has.',
    hint: 'The file was cut or lines were taken out; have it exported or copied again.',
  },
  'export-repeated': {
    means: 'An export of a log has an entry a second time.',
    hint: 'The file was altered; have it exported or copied again.',
  },
  'export-order': {
    means: 'An entry of an export does not follow the one before it: lines are missing or in another order.',
    hint: 'The file was altered; have it exported or copied again.',
  },
  'export-trailing': {
    means: 'Something follows on the trailer of an export of a log.',
    hint: 'Give each export as a file of its own.',
  },
  'export-contradiction': {
    means: 'The header or the trailer of an export says other numbers than its signed checkpoints.',
    hint: 'The file was altered; have it exported or copied again.',
  },
});

export const exportTrustRefusals = defineRefusals('inauthentic', {
  'export-other-log': {
    means: 'An export is of another log than the one asked for.',
    hint: 'Check which log the profile pins, and which file was given.',
  },
});

export const exportUseRefusals = defineRefusals('usage', {
  'export-gap': {
    means:
      'An export does not begin where the one before it ended, or the first one not with the first entry.',
    hint: 'Give all exports from the first entry on, in their order; the rules are judged from the first entry.',
  },
});

export const exportNothingRefusals = defineRefusals('unavailable', {
  'export-nothing': {
    means: 'The log has no entries that an export could hold.',
    hint: 'Export again when the log has grown.',
  },
});

/** Two signed notes and little more. */
const MAX_HEADER_BYTES = 4 << 20;
/** The longest entry in base64 and what stands around it. */
const MAX_ENTRY_LINE_BYTES = 90_000;
export const MAX_LINE_BYTES = MAX_HEADER_BYTES;

const LINE_FEED = 0x0a;

const uint64Field = z.string().max(20);
const noteField = z.string().max(1_000_000);

const headerSchema = z.strictObject({
  header: z.strictObject({
    format: z.literal('weightgate-log-export'),
    version: z.literal(1),
    origin: z.string().min(1).max(200),
    /** Index of the first entry and of the last one. */
    first: uint64Field,
    last: uint64Field,
    /** The signed checkpoint of size `first`, which its holder has verified before; null where `first` is 0. */
    previous: noteField.nullable(),
    /** The signed checkpoint of size `last` + 1. */
    checkpoint: noteField,
  }),
});

const entrySchema = z.strictObject({ entry: z.string(), index: uint64Field });

const trailerSchema = z.strictObject({
  trailer: z.strictObject({
    /** How many entry lines there are. */
    entries: uint64Field,
    last: uint64Field,
    /** RFC 9162 consistency proof from `previous` to `checkpoint`; empty where there is no previous one. */
    consistency: z.array(z.string().max(44)).max(63),
  }),
});

export type ExportHeader = z.infer<typeof headerSchema>['header'];
export type ExportTrailer = z.infer<typeof trailerSchema>['trailer'];

/** A line of an entry. */
interface ExportedEntry {
  readonly index: string;
  /** The exact bytes that are hashed into the leaf. */
  readonly entry: Uint8Array;
}

export const headerLine = (header: ExportHeader): Uint8Array => line({ header });
export const trailerLine = (trailer: ExportTrailer): Uint8Array => line({ trailer });

export function entryLine(index: bigint, entry: Uint8Array): Uint8Array {
  return line({ entry: toBase64(entry), index: index.toString() });
}

function line(document: JsonValue): Uint8Array {
  const json = encodeCanonicalJson(document);
  const bytes = new Uint8Array(json.length + 1);
  bytes.set(json);
  bytes[json.length] = LINE_FEED;
  return bytes;
}

/** @throws RefusalError `export-cut`, `json-*`, `utf8-malformed`, `shape-mismatch` */
export function readHeader(bytes: Uint8Array | undefined, path: string): ExportHeader {
  const document = decodeCanonicalJson(wholeLine(bytes, path), { maxBytes: MAX_HEADER_BYTES }, path);
  return readShape(headerSchema, document, path).header;
}

const TRAILER_START = toUtf8('{"trailer"');

/** @throws RefusalError as `readHeader`, and `base64-malformed` */
export function readEntryOrTrailer(
  bytes: Uint8Array | undefined,
  path: string,
): ExportedEntry | ExportTrailer {
  const body = wholeLine(bytes, path);
  const document = decodeCanonicalJson(body, { maxBytes: MAX_ENTRY_LINE_BYTES }, path);
  if (TRAILER_START.every((byte, i) => body[i] === byte))
    return readShape(trailerSchema, document, path).trailer;
  const { entry, index } = readShape(entrySchema, document, path);
  return { index, entry: fromBase64(entry, `${path}.entry`) };
}

/** A line without its line feed, which every one of them has. */
function wholeLine(bytes: Uint8Array | undefined, path: string): Uint8Array {
  if (bytes?.at(-1) === LINE_FEED) return bytes.subarray(0, -1);
  throw exportRefusals.error('export-cut', {
    field: path,
    expected: 'a line and its line feed',
    found: bytes === undefined ? 'the end of the file' : 'half a line',
  });
}
