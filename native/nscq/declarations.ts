/** The functions of nscq_attestation.h that attestation uses, as koffi calls them. */

import koffi, { type LibraryHandle, type TypeObject } from 'koffi';

import { asyncFunction, type AsyncFunction } from '../nvml/serial-calls.ts';
import { nscqMachineRefusals } from './refusals.ts';

/** Structures come by value and rooms are filled up to the size beside them. */
export const MAX_REPORT_BYTES = 0x2000;
export const MAX_CHAIN_BYTES = 0x1400;
const SESSION_RESULT = koffi.struct({ returned: 'int8_t', session: 'void *' });
const REPORT = koffi.struct({
  bytes: 'uint32_t',
  content: koffi.array('uint8_t', MAX_REPORT_BYTES, 'Typed'),
});
const CHAIN = koffi.struct({ content: koffi.array('uint8_t', MAX_CHAIN_BYTES, 'Typed'), bytes: 'uint32_t' });

/** A room with what the library says is filled of it. */
export interface Filled {
  readonly bytes: number;
  readonly content: Uint8Array;
}

/** How each kind of path answers: the parameter that the callback gets between the return code and the user's data. */
const ANSWERS = {
  uuid: callback('void *'),
  mode: callback('int8_t'),
  report: callback(REPORT),
  chain: callback(CHAIN),
} as const;
export type Kind = keyof typeof ANSWERS;
export interface Answers {
  readonly uuid: bigint;
  readonly mode: number;
  readonly report: Filled;
  readonly chain: Filled;
}

function callback(answer: string | TypeObject): TypeObject {
  return koffi.pointer(koffi.proto('void', ['void *', 'int8_t', answer, 'void *']));
}

export interface Functions {
  readonly create: AsyncFunction<{ readonly returned: number; readonly session: bigint | null }>;
  readonly destroy: AsyncFunction<undefined>;
  readonly setInput: AsyncFunction<number>;
  readonly toLabel: (uuid: bigint, label: Uint8Array, flags: number) => number;
  readonly observe: Readonly<Record<Kind, AsyncFunction<number>>>;
}

function loadLibrary(path: string): LibraryHandle {
  try {
    return koffi.load(path);
  } catch (cause) {
    const facts = { field: path, expected: 'a library that loads', found: 'none' };
    throw nscqMachineRefusals.error('nscq-library-missing', facts, { cause });
  }
}

/** @throws RefusalError `nscq-library-missing`, `nscq-library-old` */
export function loadFunctions(path: string): Functions {
  const library = loadLibrary(path);
  const observe = (kind: Kind): AsyncFunction<number> =>
    asyncFunction(
      library.func('nscq_session_path_observe', 'int8_t', [
        'void *',
        'str',
        ANSWERS[kind],
        'void *',
        'uint32_t',
      ]),
    );
  try {
    return {
      create: asyncFunction(library.func('nscq_session_create', SESSION_RESULT, ['uint32_t'])),
      destroy: asyncFunction(library.func('void nscq_session_destroy(void *)')),
      setInput: asyncFunction(
        library.func('int8_t nscq_session_set_input(void *, uint32_t, void *, uint32_t)'),
      ),
      toLabel: library.func('int8_t nscq_uuid_to_label(void *, void *, uint32_t)') as Functions['toLabel'],
      observe: {
        uuid: observe('uuid'),
        mode: observe('mode'),
        report: observe('report'),
        chain: observe('chain'),
      },
    };
  } catch (cause) {
    const facts = { field: path, expected: 'the functions of nscq_attestation.h', found: 'not all of them' };
    throw nscqMachineRefusals.error('nscq-library-old', facts, { cause });
  }
}
