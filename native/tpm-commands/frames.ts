/**
 * How a command and its response stand on the wire (TCG "TPM 2.0 Library Specification" Part 1, section 18). Only
 * authorizations without an HMAC are made: empty passwords, and policy sessions whose policy is their whole strength.
 */

import { concatBytes } from '../../attestation/core/bytes.ts';
import {
  bigEndian,
  decode,
  encode,
  type Layout,
  remainingBytes,
  sized,
  sizedBytes,
  structure,
} from '../../attestation/core/layout.ts';
import { digestSized } from '../../attestation/tpm/layout.ts';
import { tpmContentRefusals } from './refusals.ts';

const { u8, u16, u32 } = bigEndian;

const NO_SESSIONS = 0x8001;
const SESSIONS = 0x8002;

/** TPM_RS_PW: the authorization is a password, here always the empty one. */
const PASSWORD_SESSION = 0x40000009;

/** TPMA_SESSION continueSession: the session outlives the command, so that whoever began it also ends it. */
const CONTINUE_SESSION = 0x01;

/** What a command looks like: a table of its parts, from Part 3 of the specification. */
export interface Command<Parameters, Response> {
  readonly name: string;
  readonly code: number;
  /** How many of its handles, counted from the first, need an authorization. */
  readonly authorizations: 0 | 1 | 2;
  readonly parameters: Layout<Parameters>;
  /** Whether the response begins with the handle of something that is now loaded. */
  readonly returnsHandle: boolean;
  readonly response: Layout<Response>;
}

/** One use of a command. `sessions` are the authorizations in order; a missing one is the empty password. */
export interface Invocation<Parameters> {
  readonly handles: readonly number[];
  readonly sessions?: readonly (number | undefined)[];
  readonly parameters: Parameters;
}

/** A response: the loaded handle (0 where the command returns none) and the parameters. */
export interface Reply<Response> {
  readonly handle: number;
  readonly parameters: Response;
}

/** TPMS_AUTH_COMMAND. Nonce and HMAC stay empty, which policy sessions without a session key allow. */
const commandAuthorization = structure({
  session: u32(),
  nonce: digestSized,
  attributes: u8(),
  hmac: digestSized,
});

/** TPMS_AUTH_RESPONSE to the above; an HMAC would answer a session that was never made. */
const responseAuthorization = structure({
  nonce: digestSized,
  attributes: u8({ oneOf: [CONTINUE_SESSION] }),
  hmac: sizedBytes(u16({ max: 0 })),
});

const commandFrame = structure({ tag: u16(), size: u32(), code: u32(), body: remainingBytes() });
const responseFrame = structure({
  tag: u16({ oneOf: [NO_SESSIONS, SESSIONS] }),
  size: u32(),
  responseCode: u32(),
  body: remainingBytes(),
});
const FRAME_HEADER_BYTES = 10;

/** @throws RefusalError `layout-value` on parameters outside their constraints */
export function encodeCommand<P, R>(command: Command<P, R>, invocation: Invocation<P>): Uint8Array {
  const handles = invocation.handles.map((handle) => encode(u32(), handle, `${command.name}.handle`));
  const parameters = encode(command.parameters, invocation.parameters, command.name);
  const body = concatBytes(...handles, ...authorizationArea(command, invocation), parameters);
  const tag = command.authorizations === 0 ? NO_SESSIONS : SESSIONS;
  return encode(
    commandFrame,
    { tag, size: FRAME_HEADER_BYTES + body.length, code: command.code, body },
    command.name,
  );
}

function authorizationArea<P, R>(command: Command<P, R>, invocation: Invocation<P>): Uint8Array[] {
  if (command.authorizations === 0) return [];
  const authorizations = Array.from({ length: command.authorizations }, (_, i) =>
    encode(
      commandAuthorization,
      {
        session: invocation.sessions?.[i] ?? PASSWORD_SESSION,
        nonce: new Uint8Array(0),
        attributes: CONTINUE_SESSION,
        hmac: new Uint8Array(0),
      },
      `${command.name}.session${i + 1}`,
    ),
  );
  return [encode(sizedBytes(u32()), concatBytes(...authorizations), `${command.name}.sessions`)];
}

/** The response code alone, to be read before anything else. @throws RefusalError `layout-*` */
export function readResponseCode(response: Uint8Array, name: string): number {
  return decode(responseFrame, response, `${name}.response`).responseCode;
}

/**
 * Reads the response of a command that succeeded.
 *
 * @throws RefusalError `layout-*`, `tpm-answer-malformed`
 */
export function decodeResponse<P, R>(command: Command<P, R>, response: Uint8Array): Reply<R> {
  const path = `${command.name}.response`;
  const frame = decode(responseFrame, response, path);
  const tag = command.authorizations === 0 ? NO_SESSIONS : SESSIONS;
  if (frame.tag !== tag || frame.size !== response.length) {
    throw tpmContentRefusals.error('tpm-answer-malformed', {
      field: path,
      expected: `tag 0x${tag.toString(16)} and ${response.length} bytes`,
      found: `tag 0x${frame.tag.toString(16)} and ${frame.size} bytes`,
    });
  }
  const { handle = 0, parameters } = decode(responseBody(command), frame.body, path);
  return { handle, parameters };
}

/** The layout of a response after its header: a handle if the command returns one, the parameters, the answers. */
function responseBody<P, R>(
  command: Command<P, R>,
): Layout<{ readonly handle?: number; readonly parameters: R }> {
  const handle = command.returnsHandle ? { handle: u32() } : {};
  if (command.authorizations === 0) {
    return structure({ ...handle, parameters: command.response }) as ReturnType<typeof responseBody<P, R>>;
  }
  // Only with sessions the size of the parameters is written out, and an answer to each authorization follows.
  const answers = Array.from(
    { length: command.authorizations },
    (_, i) => [`session${i + 1}`, responseAuthorization] as const,
  );
  return structure({
    ...handle,
    parameters: sized(u32(), command.response),
    ...Object.fromEntries(answers),
  }) as ReturnType<typeof responseBody<P, R>>;
}
