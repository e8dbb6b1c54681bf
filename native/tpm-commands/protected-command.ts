/**
 * Commands under a salted session. The session authorizes the first handle that would else have the empty password;
 * where there is none it stands behind the authorizations. In both places its HMAC covers the whole command and the
 * whole response (Part 1, sections 16.7 and 19.6), so that whoever changes one of them on the way is noticed.
 */

import { concatBytes } from '../../attestation/core/bytes.ts';
import {
  bigEndian,
  decode,
  encode,
  type Layout,
  remainingBytes,
  sizedBytes,
  structure,
} from '../../attestation/core/layout.ts';
import {
  type Command,
  commandAuthorization,
  frameCommand,
  type Invocation,
  type NamedHandle,
  plainAnswer,
  plainAuthorization,
  type Reply,
  type ResponseAuthorization,
  unframeResponse,
} from './frames.ts';
import { tpmSessionRefusals } from './refusals.ts';
import { type SaltedSession, SESSION_HASH, SessionAttribute } from './salted-session.ts';

const { u8, u16, u32 } = bigEndian;

const SUCCESS = 0;

/** The first byte of a handle says what it is (Part 2, section 7.2). These are their own Names. */
const UNNAMED_HANDLE_TYPES: ReadonlySet<number> = new Set([0x00, 0x02, 0x03, 0x40]);

/** A first member in TPM2B form and what follows it. */
const firstMember = structure({ first: sizedBytes(u16()), rest: remainingBytes() });

/** A command that is ready to be sent, once or, where the TPM asks for it, again as it is. */
export interface ProtectedCommand<R> {
  readonly bytes: Uint8Array;
  /** Which of the command's sessions protects it, counted from 1, as response codes count. */
  readonly sessionNumber: number;
  /** @throws RefusalError `tpm-session-response`, `layout-*`, `tpm-answer-malformed` */
  readResponse(response: Uint8Array): Reply<R>;
}

/** @throws RefusalError `layout-value` on parameters outside their constraints */
export function protectCommand<P, R>(
  command: Command<P, R>,
  invocation: Invocation<P>,
  session: SaltedSession,
): ProtectedCommand<R> {
  const others = Array.from({ length: command.authorizations }, (_, i) => invocation.sessions?.[i]);
  const free = others.indexOf(undefined);
  const position = free === -1 ? others.length : free;
  const attributes = attributesOf(command, free !== -1);
  const nonce = session.nextNonce();
  const plain = encode(command.parameters, invocation.parameters, command.name);
  const parameters = hasSecret(command, 'parameter')
    ? onFirstMember(plain, command.name, (first) => session.encryptParameter(first))
    : plain;
  const hmac = session.commandHmac(commandHash(command, invocation.handles, parameters), attributes);
  const areas = others.map((other) => plainAuthorization(other, command.name));
  areas[position] = encode(
    commandAuthorization,
    { session: session.handle, nonce, attributes, hmac },
    `${command.name}.session`,
  );
  return {
    bytes: frameCommand(command, invocation.handles, areas, parameters),
    sessionNumber: position + 1,
    readResponse: (response) =>
      readProtected(command, response, { session, attributes, position, count: areas.length }),
  };
}

function hasSecret<P, R>({ secret }: Command<P, R>, place: 'parameter' | 'response'): boolean {
  return secret === place || secret === 'both';
}

/** A session that neither authorizes nor encrypts is taken only where it audits. */
function attributesOf<P, R>(command: Command<P, R>, authorizes: boolean): number {
  const { continueSession, decrypt, encrypt, audit } = SessionAttribute;
  const encryption =
    (hasSecret(command, 'parameter') ? decrypt : 0) | (hasSecret(command, 'response') ? encrypt : 0);
  return continueSession | encryption | (authorizes || encryption !== 0 ? 0 : audit);
}

function onFirstMember(
  bytes: Uint8Array,
  name: string,
  transform: (first: Uint8Array) => Uint8Array,
): Uint8Array {
  const { first, rest } = decode(firstMember, bytes, name);
  return encode(firstMember, { first: transform(first), rest }, name);
}

/** cpHash: code, Names and parameters as they are sent (Part 1, section 16.7). */
function commandHash<P, R>(
  { name, code }: Command<P, R>,
  handles: Invocation<P>['handles'],
  parameters: Uint8Array,
): Uint8Array {
  const names = handles.map((handle) => nameOf(handle, name));
  return SESSION_HASH.digest(concatBytes(encode(u32(), code, name), ...names, parameters));
}

function nameOf(handle: number | NamedHandle, command: string): Uint8Array {
  if (typeof handle !== 'number') return handle.name;
  if (UNNAMED_HANDLE_TYPES.has(handle >>> 24)) return encode(u32(), handle, command);
  throw new TypeError(`${command} under a session key needs the Name of the handle 0x${handle.toString(16)}`);
}

interface Sent {
  readonly session: SaltedSession;
  readonly attributes: number;
  readonly position: number;
  readonly count: number;
}

function readProtected<P, R>(
  command: Command<P, R>,
  response: Uint8Array,
  { session, attributes, position, count }: Sent,
): Reply<R> {
  const layouts = Array.from({ length: count }, (_, i) =>
    i === position ? keyedAnswer(attributes) : plainAnswer,
  );
  const { handle, parameters, answers } = unframeResponse(command, response, layouts);
  const answer = answers[position];
  // rpHash: response code, command code and parameters as they came (Part 1, section 16.8).
  const head = concatBytes(encode(u32(), SUCCESS, 'code'), encode(u32(), command.code, 'code'));
  const hash = SESSION_HASH.digest(concatBytes(head, parameters));
  if (answer === undefined || !session.acceptResponse(hash, answer)) {
    throw tpmSessionRefusals.error('tpm-session-response', {
      field: `${command.name}.response`,
      expected: 'the HMAC of the TPM that holds the salt key',
      found: 'another one',
    });
  }
  const path = `${command.name}.response`;
  const clear = hasSecret(command, 'response')
    ? onFirstMember(parameters, path, (first) => session.decryptParameter(first))
    : parameters;
  return { handle, parameters: decode(command.response, clear, path) };
}

/**
 * TPMS_AUTH_RESPONSE of the session: a nonce and an HMAC of whole length, and the attributes as they were sent. To an
 * audit the TPM adds whether no other command came in between, which says nothing here.
 */
function keyedAnswer(attributes: number): Layout<ResponseAuthorization> {
  const digest = sizedBytes(u16({ oneOf: [SESSION_HASH.bytes] }));
  const oneOf = [attributes, attributes | SessionAttribute.auditExclusive];
  return structure({ nonce: digest, attributes: u8({ oneOf }), hmac: digest });
}
