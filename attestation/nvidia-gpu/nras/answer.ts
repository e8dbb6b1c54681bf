/**
 * An answer of the service: a token about the whole, and one for each device (RFC 9711 section 4.2.18, detached EAT bundle). What
 * the bytes claim, before anything of it is believed.
 */

import { listShape, literalShape, mapShape, textShape } from '../../core/json-shape.ts';
import { pairShape, readNrasJson } from './format.ts';
import { readToken } from './token.ts';
import type { ClaimedToken } from './token.ts';

export interface ClaimedNrasAnswer {
  readonly overall: ClaimedToken;
  /** By the name that the service gives: kind and position in the request. */
  readonly devices: ReadonlyMap<string, ClaimedToken>;
}

const MAX_ANSWER_BYTES = 256 * 1024;
/** A machine has eight GPUs and four switches at most. */
export const MAX_DEVICES = 16;

/** Kind and position of a device. */
export const DEVICE_NAME = /^(?:GPU|SWITCH)-(?:0|[1-9][0-9]?)$/;

const tokenShape = textShape({ pattern: /^[A-Za-z0-9_.-]+$/ });
const overallShape = listShape({ minItems: 2, maxItems: 2 }, tokenShape);
const devicesShape = mapShape({ name: DEVICE_NAME, maxMembers: MAX_DEVICES }, tokenShape);

/** @param bytes what the service answered @throws RefusalError `nras-*`, `shape-*`, `base64-malformed`, `utf8-malformed` */
export function readNrasAnswer(bytes: Uint8Array, field: string): ClaimedNrasAnswer {
  const [first, second] = pairShape(readNrasJson(bytes, MAX_ANSWER_BYTES, field), field);
  const [label = '', overall = ''] = overallShape(first, `${field}[0]`);
  literalShape('JWT')(label, `${field}[0][0]`);
  const devices = devicesShape(second, `${field}[1]`);
  return {
    overall: readToken(overall, `${field}.overall`),
    devices: new Map([...devices].map(([name, text]) => [name, readToken(text, `${field}.${name}`)])),
  };
}
