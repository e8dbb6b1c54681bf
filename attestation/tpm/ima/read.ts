/**
 * Reading the measurement list of Linux's Integrity Measurement Architecture (docs/spec/tpm-event-log.md, section 6). Each
 * entry says that a file was opened under a rule and what its digest was then.
 */

import { sha1 } from '@noble/hashes/legacy.js';

import { equalBytes, excerpt, fromHex, fromUtf8, toHex, toUtf8 } from '../../core/bytes.ts';
import { decode, encode } from '../../core/layout.ts';
import { defineRefusals } from '../../core/refusal.ts';
import { imaNgData, imaSigData, nextImaRecord, SHA1_BYTES } from './layout.ts';
import type { ImaRecord } from './layout.ts';

export const imaRefusals = defineRefusals('malformed', {
  'ima-size': {
    means: 'A measurement list of IMA is empty or larger than is accepted.',
    hint: 'Measure less by the IMA policy, or boot the machine again; the list grows until then.',
  },
  'ima-template': {
    means: 'A measurement list of IMA has a record of a template that is not accepted.',
    hint: 'Set ima_template=ima-ng or ima_template=ima-sig on the kernel command line.',
  },
  'ima-template-digest': {
    means: 'A record of a measurement list does not have the digest of its own fields.',
    hint: 'The list was altered: the kernel computes this digest over what stands beside it.',
  },
  'ima-field': {
    means: 'A field of a measurement list has not the form that the kernel writes.',
    hint: 'The list was altered, or comes from a kernel that is newer than this release.',
  },
});

const MAX_LIST_BYTES = 64 * 1024 * 1024;

/** One measured file, claimed until a replay agrees with a quote. */
export interface ImaEntry {
  readonly pcr: number;
  readonly template: 'ima-ng' | 'ima-sig';
  /** Template data: what each bank's own hash is taken over. */
  readonly data: Uint8Array;
  /** A file that was written while it was open: nobody knows what was read. */
  readonly isViolation: boolean;
  /** For example `sha256`. */
  readonly algorithm: string;
  readonly digest: Uint8Array;
  readonly path: string;
  /** Of `ima-sig`, possibly empty; undefined for `ima-ng`. */
  readonly signature: Uint8Array | undefined;
}

/**
 * Reads `binary_runtime_measurements`.
 *
 * @throws RefusalError `ima-*`, `layout-*`, `utf8-malformed`
 */
export function readImaList(bytes: Uint8Array): readonly ImaEntry[] {
  demandSize(bytes);
  const entries: ImaEntry[] = [];
  for (let rest = bytes; rest.length > 0 && !(entries.length > 0 && isLineFeed(rest));) {
    const path = `ima[${entries.length}]`;
    const next = decode(nextImaRecord, rest, path);
    entries.push(readRecord(next.record, path));
    rest = next.rest;
  }
  return entries;
}

/** Tools that take the list for text leave one behind it. No record is so short. */
function isLineFeed(rest: Uint8Array): boolean {
  return rest.length === 1 && rest[0] === 0x0a;
}

const LINE =
  /^(?<pcr>[0-9]{1,2}) (?<stated>[0-9a-f]{40}) ima-ng (?<algorithm>[a-z0-9-]{1,20}):(?<digest>(?:[0-9a-f]{2}){1,64}) (?<path>.+)$/;

/**
 * Reads `ascii_runtime_measurements` of the template `ima-ng`. That of `ima-sig` cannot be told apart from a path with a
 * space in it: take the binary list.
 *
 * @throws RefusalError `ima-*`, `utf8-malformed`
 */
export function readImaText(bytes: Uint8Array): readonly ImaEntry[] {
  demandSize(bytes);
  const lines = fromUtf8(bytes, 'ima').split('\n');
  const whole = lines.at(-1) === '' ? lines.slice(0, -1) : lines;
  return whole.map((line, i) => {
    const path = `ima[${i}]`;
    const groups = LINE.exec(line)?.groups;
    if (groups === undefined) throw badField(path, 'a line of the template ima-ng', excerpt(line));
    const { pcr = '', stated = '', algorithm = '', digest = '', path: file = '' } = groups;
    const tagged = Uint8Array.from([...toUtf8(`${algorithm}:\0`), ...fromHex(digest, path)]);
    const data = encode(imaNgData, { digest: tagged, path: toUtf8(`${file}\0`) }, path);
    const template = toUtf8('ima-ng');
    return readRecord({ pcr: Number(pcr), templateDigest: fromHex(stated, path), template, data }, path);
  });
}

function demandSize(bytes: Uint8Array): void {
  if (bytes.length > 0 && bytes.length <= MAX_LIST_BYTES) return;
  throw imaRefusals.error('ima-size', {
    field: 'ima',
    expected: `1 to ${MAX_LIST_BYTES} bytes`,
    found: `${bytes.length} bytes`,
  });
}

function readRecord({ pcr, templateDigest, template, data }: ImaRecord, path: string): ImaEntry {
  const name = fromUtf8(template, `${path}.template`);
  if (name !== 'ima-ng' && name !== 'ima-sig') {
    throw imaRefusals.error('ima-template', {
      field: `${path}.template`,
      expected: 'ima-ng or ima-sig',
      found: excerpt(name),
    });
  }
  const isViolation = templateDigest.every((byte) => byte === 0);
  if (!isViolation) demandTemplateDigest(templateDigest, data, path);
  const { digest, path: file, signature } = readFields(name, data, path);
  return {
    pcr,
    template: name,
    data,
    isViolation,
    ...readDigest(digest, path),
    path: readPath(file, path),
    signature,
  };
}

function readFields(template: ImaEntry['template'], data: Uint8Array, path: string) {
  if (template === 'ima-sig') return decode(imaSigData, data, path);
  return { ...decode(imaNgData, data, path), signature: undefined };
}

/** The list states SHA-1 whatever the banks are; the digest guards against errors and not against an attacker. */
function demandTemplateDigest(stated: Uint8Array, data: Uint8Array, path: string): void {
  const computed = sha1(data);
  if (stated.length === SHA1_BYTES && equalBytes(computed, stated)) return;
  throw imaRefusals.error('ima-template-digest', {
    field: `${path}.templateDigest`,
    expected: toHex(computed),
    found: toHex(stated),
  });
}

const COLON = 0x3a;
const ALGORITHM = /^[a-z0-9-]{1,20}$/;

function readDigest(bytes: Uint8Array, path: string): Pick<ImaEntry, 'algorithm' | 'digest'> {
  const colon = bytes.indexOf(COLON);
  const algorithm = colon < 0 ? '' : fromUtf8(bytes.subarray(0, colon), `${path}.digest`);
  if (!ALGORITHM.test(algorithm) || bytes[colon + 1] !== 0) {
    throw badField(
      `${path}.digest`,
      'an algorithm, a colon, a zero byte and a digest',
      toHex(bytes.subarray(0, 32)),
    );
  }
  return { algorithm, digest: bytes.subarray(colon + 2) };
}

function readPath(bytes: Uint8Array, path: string): string {
  const end = bytes.indexOf(0);
  if (bytes.length > 1 && end === bytes.length - 1) return fromUtf8(bytes.subarray(0, end), `${path}.path`);
  throw badField(`${path}.path`, 'a path and one zero byte behind it', toHex(bytes.subarray(0, 32)));
}

function badField(field: string, expected: string, found: string): Error {
  return imaRefusals.error('ima-field', { field, expected, found });
}
