/**
 * A PKCS#11 library and the functions of it that custody uses, through koffi (docs/decisions/0174). Calls run on threads
 * of the platform's pool, and each has a time limit: the library may wait for a token, or for a network.
 */

import koffi, { type LibraryHandle } from 'koffi';

import type { RefusalError } from '../../attestation/core/refusal.ts';
import { type Argument, asyncFunction, type AsyncFunction } from '../nvml/serial-calls.ts';
import { within } from '../tpm/transport.ts';
import { pkcs11MachineRefusals, pkcs11StateRefusals } from './refusals.ts';
import { requireOk, ReturnValue } from './return-values.ts';
import {
  FUNCTION_LIST_BYTES,
  initializeArguments,
  readFunctionList,
  readUlong,
  ULONG_BYTES,
  ulongRoom,
} from './structures.ts';

/** Place in CK_FUNCTION_LIST, and the types of the arguments: n is CK_ULONG, p a pointer, b a CK_BYTE. */
const FUNCTIONS = {
  C_Initialize: [0, 'p'],
  C_Finalize: [1, 'p'],
  C_GetSlotList: [4, 'bpp'],
  C_GetTokenInfo: [6, 'np'],
  C_OpenSession: [12, 'nnppp'],
  C_CloseSession: [13, 'n'],
  C_Login: [18, 'nnpn'],
  C_DestroyObject: [22, 'nn'],
  C_GetAttributeValue: [24, 'nnpn'],
  C_FindObjectsInit: [26, 'npn'],
  C_FindObjects: [27, 'npnp'],
  C_FindObjectsFinal: [28, 'n'],
  C_EncryptInit: [29, 'npn'],
  C_Encrypt: [30, 'npnpp'],
  C_DecryptInit: [33, 'npn'],
  C_Decrypt: [34, 'npnpp'],
  C_GenerateKey: [58, 'nppnp'],
  C_GenerateRandom: [64, 'npn'],
} as const satisfies Readonly<Record<string, readonly [place: number, types: string]>>;
export type FunctionName = keyof typeof FUNCTIONS;

const TYPES: Readonly<Record<string, string>> = { n: 'uint64_t', p: 'void *', b: 'uint8_t' };

const KNOWN_VERSIONS: readonly number[] = [2, 3];

/** What calls go through: the library, or what a test puts before it. */
export interface Cryptoki {
  /** The path of the library, for messages. */
  readonly place: string;
  /**
   * @param alsoGood return values that mean success for this caller
   * @throws RefusalError `pkcs11-*`
   */
  call(name: FunctionName, values: readonly Argument[], alsoGood?: readonly number[]): Promise<void>;
  close(): Promise<void>;
}

type Functions = ReadonlyMap<FunctionName, AsyncFunction<number>>;

/** Libraries stay loaded to the end of the process: many leave threads or handlers behind that run code of theirs. */
const loaded = new Map<string, { readonly handle: LibraryHandle; readonly functions: Functions }>();

/** A library is initialised once in a process, however many have it open. */
const opened = new Map<string, { readonly library: Pkcs11Library; users: number }>();

/**
 * Opens a library; each opening has to be closed.
 *
 * @param path absolute, or a name for the system's loader
 * @param callSeconds how long one call may take
 * @throws RefusalError `pkcs11-library-*`, `pkcs11-*`
 */
export async function openPkcs11Library(path: string, callSeconds: number): Promise<Cryptoki> {
  let entry = opened.get(path);
  if (entry === undefined) {
    entry = { library: Pkcs11Library.load(path, callSeconds), users: 0 };
    opened.set(path, entry);
  }
  const { library } = entry;
  entry.users += 1;
  let isClosed = false;
  const close = async (): Promise<void> => {
    if (isClosed) return;
    isClosed = true;
    await leave(path);
  };
  try {
    await library.ready();
  } catch (error) {
    await close();
    throw error;
  }
  return { place: path, call: (name, values, alsoGood) => library.call(name, values, alsoGood), close };
}

async function leave(path: string): Promise<void> {
  const entry = opened.get(path);
  if (entry === undefined) return;
  entry.users -= 1;
  if (entry.users > 0) return;
  opened.delete(path);
  await entry.library.finalize();
}

class Pkcs11Library {
  private readonly path: string;
  private readonly callSeconds: number;
  private readonly functions: Functions;
  private initialization: Promise<void> | undefined;
  /** Why nothing is called any more. */
  private ended: RefusalError | undefined;

  private constructor(path: string, callSeconds: number, functions: Functions) {
    this.path = path;
    this.callSeconds = callSeconds;
    this.functions = functions;
  }

  static load(path: string, callSeconds: number): Pkcs11Library {
    if (process.platform !== 'linux' || koffi.sizeof('long') !== ULONG_BYTES) {
      throw otherLibrary(path, '64-bit Linux', process.platform);
    }
    let functions = loaded.get(path)?.functions;
    if (functions === undefined) {
      const handle = loadLibrary(path);
      functions = functionsOf(handle, path);
      loaded.set(path, { handle, functions });
    }
    return new Pkcs11Library(path, callSeconds, functions);
  }

  /** Initialises it with the first caller. */
  ready(): Promise<void> {
    this.initialization ??= this.call(
      'C_Initialize',
      [initializeArguments()],
      [ReturnValue.cryptokiAlreadyInitialized],
    );
    return this.initialization;
  }

  async call(name: FunctionName, values: readonly Argument[], alsoGood?: readonly number[]): Promise<void> {
    if (this.ended !== undefined) throw this.ended;
    const native = this.functions.get(name);
    const field = `${this.path} ${name}`;
    if (native === undefined) throw otherLibrary(field, 'the function', 'none');
    const late = (): RefusalError => (this.ended ??= timedOut(field, this.callSeconds));
    requireOk(await within(native(...values), this.callSeconds, late), field, alsoGood);
  }

  /** Ends it, unless a call hangs in it: then the end would hang too. */
  async finalize(): Promise<void> {
    if (this.ended !== undefined) return;
    await this.call('C_Finalize', [null]).finally(() => {
      const facts = { field: this.path, expected: 'an open library', found: 'closed' };
      this.ended = pkcs11StateRefusals.error('pkcs11-closed', facts);
    });
  }
}

function loadLibrary(path: string): LibraryHandle {
  try {
    // Its own libraries come first for it: Node exports an OpenSSL that is not the one it was built for.
    return koffi.load(path, { deep: true });
  } catch (cause) {
    const facts = { field: path, expected: 'a library that loads', found: 'none' };
    throw pkcs11MachineRefusals.error('pkcs11-library-missing', facts, { cause });
  }
}

function functionsOf(library: LibraryHandle, path: string): ReadonlyMap<FunctionName, AsyncFunction<number>> {
  const { major, addresses } = readFunctionList(functionListBytes(library, path));
  if (!KNOWN_VERSIONS.includes(major)) throw otherLibrary(path, 'version 2 or 3', `version ${major}`);
  return new Map(
    Object.entries(FUNCTIONS).map(([name, [place, types]]) => {
      const address = addresses[place] ?? 0n;
      if (address === 0n) throw otherLibrary(path, name, 'no such function');
      const prototype = koffi.proto(`uint64_t (${Array.from(types, (type) => TYPES[type]).join(', ')})`);
      const native = koffi.decode(address, prototype) as Parameters<typeof asyncFunction<number>>[0];
      return [name as FunctionName, asyncFunction<number>(native)];
    }),
  );
}

function functionListBytes(library: LibraryHandle, path: string): Uint8Array {
  const room = ulongRoom();
  try {
    const getFunctionList = library.func('uint64_t C_GetFunctionList(void *list)');
    requireOk(Number(getFunctionList(room)), `${path} C_GetFunctionList`);
  } catch (cause) {
    throw otherLibrary(path, 'C_GetFunctionList', 'none that works', cause);
  }
  const address = readUlong(room, 'functionList');
  if (address === 0n) throw otherLibrary(path, 'a list of functions', 'none');
  return new Uint8Array(koffi.view(address, FUNCTION_LIST_BYTES)).slice();
}

function otherLibrary(field: string, expected: string, found: string, cause?: unknown): RefusalError {
  return pkcs11MachineRefusals.error('pkcs11-library-other', { field, expected, found }, { cause });
}

function timedOut(field: string, seconds: number): RefusalError {
  const facts = { field, expected: `an answer within ${seconds} s`, found: 'none' };
  return pkcs11MachineRefusals.error('pkcs11-timeout', facts);
}
