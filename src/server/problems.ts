/**
 * Refusals as answers: which status each gets, and what is said when the failure is ours (docs/spec/release-protocol.md,
 * RP-3; RFC 9457). Only refusals are explained to callers; anything else is named by an instance and logged.
 */

import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import {
  isRefusal,
  type Refusal,
  type RefusalError,
  type RefusalFamilyName,
} from '../../attestation/core/refusal.ts';
import { problemTypeOf, type Problem } from '../platform/problem.ts';
import { capacityRefusals } from './refusals.ts';

/** A problem with what HTTP needs besides. */
export interface ProblemAnswer {
  readonly status: number;
  readonly body: Uint8Array;
  readonly retryAfterSeconds: number | undefined;
}

const RETRY_AFTER_SECONDS = 5;

const TITLES: Readonly<Record<RefusalFamilyName, string>> = {
  malformed: 'The request is not what it must be',
  inauthentic: 'Something in the request does not verify',
  unacceptable: 'The request is refused',
  usage: 'The request cannot be used here',
  unavailable: 'The server cannot answer this now',
  environment: 'The server failed',
};

const STATUS_OF_FAMILY: Readonly<Record<RefusalFamilyName, number>> = {
  malformed: 400,
  inauthentic: 403,
  unacceptable: 403,
  usage: 400,
  unavailable: 503,
  environment: 500,
};

/** Codes for which HTTP has a more exact status than their family's. */
const STATUS_OF_CODE: Readonly<Record<string, number>> = {
  'json-too-large': 413,
  'route-unknown': 404,
  'route-method': 405,
  'route-media-type': 415,
  'model-unknown': 404,
  'server-rate': 429,
  'server-failed': 500,
};

/** Texts of a refusal are short by construction; this bounds what an attacker made part of one. */
const MAX_TEXT_LENGTH = 500;

/**
 * The answer to a refusal that may be explained.
 *
 * @param refusals at least one
 */
export function problemOf(family: RefusalFamilyName, refusals: readonly Refusal[]): ProblemAnswer {
  const status = STATUS_OF_CODE[refusals[0]?.code ?? ''] ?? STATUS_OF_FAMILY[family];
  return answerOf(family, status, refusals, undefined);
}

/**
 * The answer to anything thrown while a request was handled.
 *
 * @param instance names this occurrence, for when it is not explained
 * @returns the answer, the code that it names, and whether the cause was left out of it and has to be logged
 */
export function problemOfError(
  error: unknown,
  instance: string,
): { readonly answer: ProblemAnswer; readonly code: string; readonly hidden: boolean } {
  // A refusal about this machine tells of paths and disks: the operator's business, not the caller's.
  if (isExplained(error)) {
    const { family, refusal } = error;
    return { answer: problemOf(family, [refusal]), code: refusal.code, hidden: false };
  }
  const facts = { field: 'server', expected: 'an answer', found: 'a failure of the server' };
  const refusal = capacityRefusals.refusal('server-failed', facts);
  return { answer: answerOf('unavailable', 500, [refusal], instance), code: refusal.code, hidden: true };
}

function isExplained(error: unknown): error is RefusalError {
  return isRefusal(error) && error.family !== 'environment';
}

function answerOf(
  family: RefusalFamilyName,
  status: number,
  refusals: readonly Refusal[],
  instance: string | undefined,
): ProblemAnswer {
  const problem: Problem = {
    type: problemTypeOf(family),
    title: TITLES[family],
    status,
    refusals: refusals.map(clipped),
    ...(instance === undefined ? {} : { instance }),
  };
  return {
    status,
    body: encodeCanonicalJson(problem as JsonValue),
    retryAfterSeconds: status === 429 || status === 503 ? RETRY_AFTER_SECONDS : undefined,
  };
}

function clipped({ code, field, expected, found, hint }: Refusal): Refusal {
  const clip = (text: string): string => text.slice(0, MAX_TEXT_LENGTH).toWellFormed();
  return { code, field: clip(field), expected: clip(expected), found: clip(found), hint: clip(hint) };
}
