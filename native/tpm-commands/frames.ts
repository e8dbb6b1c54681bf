/**
 * How a command and its response stand on the wire (TCG "TPM 2.0 Library Specification" Part 1, section 18). What is
 * written and read here without a session key: empty passwords, and policy sessions whose policy is their whole
 * strength. Commands under a session key are in protected-command.ts, in the same frames.
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
  /** Where a secret is the first member, in TPM2B form: a session with a key encrypts it. */
  readonly secret: 'nothing' | 'parameter' | 'response' | 'both';
  /** The few commands to which no session may be added, so that no session key protects them. */
  readonly takesSessions: boolean;
}

/** A handle together with what it stands for. A session with a key authenticates the Name, never the handle alone. */
export interface NamedHandle {
  readonly handle: number;
  /** Name of the object or index (Part 1, section 16). */
  readonly name: Uint8Array;
}

/**
 * One use of a command. Keys, sealed objects and NV indices need their Name where a session key protects the command.
 * `sessions` are the authorizations in order; a missing one is the empty password.
 */
export interface Invocation<Parameters> {
  readonly handles: readonly (number | NamedHandle)[];
  readonly sessions?: readonly (number | undefined)[];
  readonly parameters: Parameters;
}

/** A response: the loaded handle (0 where the command returns none) and the parameters. */
export interface Reply<Response> {
  readonly handle: number;
  readonly parameters: Response;
}

/** TPMS_AUTH_COMMAND. */
export const commandAuthorization = structure({
  session: u32(),
  nonce: digestSized,
  attributes: u8(),
  hmac: digestSized,
});

/** TPMS_AUTH_RESPONSE. */
export interface ResponseAuthorization {
  readonly nonce: Uint8Array;
  readonly attributes: number;
  readonly hmac: Uint8Array;
}

/** The answer to an authorization without a key; an HMAC would answer a session that was never made. */
export const plainAnswer: Layout<ResponseAuthorization> = structure({
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
  const authorizations = Array.from({ length: command.authorizations }, (_, i) =>
    plainAuthorization(invocation.sessions?.[i], command.name),
  );
  const parameters = encode(command.parameters, invocation.parameters, command.name);
  return frameCommand(command, invocation.handles, authorizations, parameters);
}

/** TPMS_AUTH_COMMAND without nonce and HMAC, which passwords and policy sessions without a key allow. */
export function plainAuthorization(session: number | undefined, name: string): Uint8Array {
  const none = new Uint8Array(0);
  return encode(
    commandAuthorization,
    { session: session ?? PASSWORD_SESSION, nonce: none, attributes: CONTINUE_SESSION, hmac: none },
    `${name}.session`,
  );
}

/** Puts the parts of a command together; without authorizations there is no area for them. */
export function frameCommand<P, R>(
  { name, code }: Command<P, R>,
  handles: readonly (number | NamedHandle)[],
  authorizations: readonly Uint8Array[],
  parameters: Uint8Array,
): Uint8Array {
  const area =
    authorizations.length === 0
      ? new Uint8Array(0)
      : encode(sizedBytes(u32()), concatBytes(...authorizations), `${name}.sessions`);
  const written = handles.map((handle) => encode(u32(), handleOf(handle), `${name}.handle`));
  const body = concatBytes(...written, area, parameters);
  const tag = authorizations.length === 0 ? NO_SESSIONS : SESSIONS;
  return encode(commandFrame, { tag, size: FRAME_HEADER_BYTES + body.length, code, body }, name);
}

export function handleOf(handle: number | NamedHandle): number {
  return typeof handle === 'number' ? handle : handle.handle;
}

/** The response code alone, to be read before anything else. @throws RefusalError `layout-*` */
export function readResponseCode(response: Uint8Array, name: string): number {
  return decode(responseFrame, response, `${name}.response`).responseCode;
}

/**
 * Reads the response of a command that succeeded, sent by {@link encodeCommand}.
 *
 * @throws RefusalError `layout-*`, `tpm-answer-malformed`
 */
export function decodeResponse<P, R>(command: Command<P, R>, response: Uint8Array): Reply<R> {
  const answers = Array.from({ length: command.authorizations }, () => plainAnswer);
  const { handle, parameters } = unframeResponse(command, response, answers);
  return { handle, parameters: decode(command.response, parameters, `${command.name}.response`) };
}

/** The parts of a response: parameters as bytes, and the answer to each authorization. */
interface ResponseParts {
  readonly handle: number;
  readonly parameters: Uint8Array;
  readonly answers: readonly ResponseAuthorization[];
}

/**
 * Takes the response of a command that succeeded apart.
 *
 * @param answers how the answer to each authorization has to look, in order
 * @throws RefusalError `layout-*`, `tpm-answer-malformed`
 */
export function unframeResponse<P, R>(
  command: Command<P, R>,
  response: Uint8Array,
  answers: readonly Layout<ResponseAuthorization>[],
): ResponseParts {
  const path = `${command.name}.response`;
  const frame = decode(responseFrame, response, path);
  const tag = answers.length === 0 ? NO_SESSIONS : SESSIONS;
  if (frame.tag !== tag || frame.size !== response.length) {
    throw tpmContentRefusals.error('tpm-answer-malformed', {
      field: path,
      expected: `tag 0x${tag.toString(16)} and ${response.length} bytes`,
      found: `tag 0x${frame.tag.toString(16)} and ${frame.size} bytes`,
    });
  }
  const { handle = 0, parameters, ...found } = decode(responseBody(command, answers), frame.body, path);
  return { handle, parameters, answers: Object.values(found) };
}

type ResponseBody = { readonly handle?: number; readonly parameters: Uint8Array } & Readonly<
  Record<`session${number}`, ResponseAuthorization>
>;

/** The layout of a response after its header: a handle if the command returns one, the parameters, the answers. */
function responseBody<P, R>(
  { returnsHandle }: Command<P, R>,
  answers: readonly Layout<ResponseAuthorization>[],
): Layout<ResponseBody> {
  // Only with sessions the size of the parameters is written out.
  return structure({
    ...(returnsHandle ? { handle: u32() } : {}),
    parameters: answers.length === 0 ? remainingBytes() : sizedBytes(u32()),
    ...Object.fromEntries(answers.map((answer, i) => [`session${i + 1}`, answer])),
  });
}
