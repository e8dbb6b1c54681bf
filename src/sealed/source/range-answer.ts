/**
 * Whether an answer is the range of bytes that was asked for, and nothing else (SW-34; RFC 9110 sections 14 and 15).
 * The server and whatever is in between control all of it.
 */

import type { IncomingHttpHeaders } from 'node:http';

import { excerpt } from '../../../attestation/core/bytes.ts';
import type { RefusalFamily } from '../../../attestation/core/refusal.ts';
import { refuseSize } from '../files.ts';
import { sealedMalformed } from '../refusals.ts';
import { sourceMalformed, sourceUnavailable } from './refusals.ts';

/** Of the file named by `path`: the bytes from `first` to `last`, both included. */
export interface RangeWanted {
  readonly path: string;
  readonly first: number;
  readonly last: number;
  /** Size of the file; undefined where nobody has vouched for one. */
  readonly totalBytes: number | undefined;
}

export interface AnswerHead {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
}

/** 1 to 16 digits each: all below 2^53 or refused by the comparison that follows. */
const CONTENT_RANGE = /^bytes ([0-9]{1,16})-([0-9]{1,16})\/([0-9]{1,16})$/;
const UNSATISFIED_RANGE = /^bytes \*\/([0-9]{1,16})$/;

/**
 * Checks status and headers of an answer that is neither a redirection nor worth another try.
 *
 * @returns the size of the file
 * @throws RefusalError `sealed-file-missing`, `sealed-file-size`, `source-forbidden`, `source-status`,
 *   `source-range-ignored`, `source-range`, `source-length`, `source-encoding`
 */
export function checkRangeAnswer({ status, headers }: AnswerHead, wanted: RangeWanted): number {
  checkStatus(status, headers, wanted);
  const field = excerpt(wanted.path);
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    refuse(sourceMalformed, 'source-encoding', field, 'no content coding', excerpt(encoding));
  }
  const totalBytes = checkContentRange(headers['content-range'], wanted);
  const length = headers['content-length'];
  const expected = wanted.last - wanted.first + 1;
  if (length !== undefined && length !== String(expected)) {
    refuse(sourceMalformed, 'source-length', field, `${expected} bytes`, excerpt(length));
  }
  return totalBytes;
}

function checkStatus(status: number, headers: IncomingHttpHeaders, wanted: RangeWanted): void {
  const field = excerpt(wanted.path);
  switch (status) {
    case 206:
      return;
    case 200:
      return refuse(sourceMalformed, 'source-range-ignored', field, 'status 206', 'status 200');
    case 401:
    case 403:
      return refuse(sourceUnavailable, 'source-forbidden', field, 'status 206', `status ${status}`);
    case 404:
    case 410:
      return refuse(sealedMalformed, 'sealed-file-missing', field, 'a file', `status ${status}`);
    case 416:
      return refuseUnsatisfied(headers['content-range'], wanted);
    default:
      return refuse(sourceUnavailable, 'source-status', field, 'status 206', `status ${status}`);
  }
}

/** 416: the range begins behind the end of the file. */
function refuseUnsatisfied(header: string | undefined, wanted: RangeWanted): never {
  const total = UNSATISFIED_RANGE.exec(header ?? '')?.[1];
  const expected = wanted.totalBytes ?? wanted.last + 1;
  if (total !== undefined && Number(total) !== expected) refuseSize(wanted.path, expected, Number(total));
  return refuse(sourceUnavailable, 'source-status', excerpt(wanted.path), 'status 206', 'status 416');
}

function checkContentRange(header: string | undefined, wanted: RangeWanted): number {
  const [, first, last, total = Number.NaN] = (CONTENT_RANGE.exec(header ?? '') ?? []).map(Number);
  if (Number.isSafeInteger(total)) {
    const expectedBytes = wanted.totalBytes ?? total;
    if (total !== expectedBytes) refuseSize(wanted.path, expectedBytes, total);
    if (first === wanted.first && last === wanted.last && last < total) return total;
  }
  const expected = `bytes ${wanted.first}-${wanted.last}/${wanted.totalBytes ?? 'its size'}`;
  return refuse(sourceMalformed, 'source-range', excerpt(wanted.path), expected, excerpt(header ?? 'none'));
}

function refuse<Code extends string>(
  family: RefusalFamily<Code>,
  code: Code,
  field: string,
  expected: string,
  found: string,
): never {
  throw family.error(code, { field, expected, found });
}
