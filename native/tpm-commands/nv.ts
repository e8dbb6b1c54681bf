/** NV indices that an agent keeps in a TPM of its own accord, under the empty authorization of the owner. */

import { Algorithm, type Signature } from '../../attestation/tpm/layout.ts';
import { NvIndexAttribute, type NvPublicArea } from '../../attestation/tpm/nv-index.ts';
import { Handle, nvReadPublic } from './commands.ts';
import { nvCertify, nvDefineSpace, nvExtend, nvWrite } from './nv-commands.ts';
import type { Tpm } from './tpm.ts';

const EMPTY = new Uint8Array(0);

export class NvIndices {
  private readonly tpm: Tpm;

  constructor(tpm: Tpm) {
    this.tpm = tpm;
  }

  /** The public area of an index; undefined where nothing is defined. @throws RefusalError `tpm-response` */
  async find(index: number): Promise<NvPublicArea | undefined> {
    const [first] = await this.tpm.handles(index, 1);
    if (first !== index) return undefined;
    const { parameters } = await this.tpm.run(nvReadPublic, { handles: [index], parameters: {} });
    return parameters.publicArea;
  }

  /** @throws RefusalError `tpm-response`, for example when the owner's hierarchy has a password or NV is full */
  async define(publicArea: NvPublicArea): Promise<void> {
    await this.tpm.run(nvDefineSpace, {
      handles: [Handle.owner],
      parameters: { auth: EMPTY, publicArea },
    });
  }

  /** What stands in an index; undefined before it was first written. */
  async read(index: number): Promise<Uint8Array | undefined> {
    const area = await this.find(index);
    if (area === undefined || (area.attributes & NvIndexAttribute.written) === 0) return undefined;
    return this.tpm.readNv(index);
  }

  async write(index: number, data: Uint8Array, offset: number): Promise<void> {
    await this.tpm.run(nvWrite, { handles: [index, index], parameters: { data, offset } });
  }

  async extend(index: number, data: Uint8Array): Promise<void> {
    await this.tpm.run(nvExtend, { handles: [index, index], parameters: { data } });
  }

  /**
   * Has a loaded key sign what stands in an index together with the caller's data.
   *
   * @returns TPMS_ATTEST as signed, and the signature
   */
  async certify(
    key: number,
    index: number,
    size: number,
    qualifyingData: Uint8Array,
  ): Promise<{ readonly attest: Uint8Array; readonly signature: Signature }> {
    const { parameters } = await this.tpm.run(nvCertify, {
      handles: [key, index, index],
      parameters: { qualifyingData, scheme: Algorithm.null, size, offset: 0 },
    });
    return parameters;
  }
}
