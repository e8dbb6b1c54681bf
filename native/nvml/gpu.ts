/** What a confidential guest can obtain from its GPUs and NVSwitches, whichever library or simulation stands behind. */

/** A device that answers a nonce with a signed report. Nothing of it is verified here. */
export interface ReportingDevice {
  /** How driver or library names it; a hint for people, because nobody signs it. */
  readonly name: string;
  /**
   * PEM certificates from the leaf to the root.
   *
   * @throws RefusalError `nvml-*`, `nscq-*`
   */
  certificateChain(): Promise<Uint8Array>;
  /**
   * Has the device sign a report.
   *
   * @param nonce 32 bytes that the report is to carry
   * @throws RefusalError `nvml-*`, `nscq-*`
   */
  attestationReport(nonce: Uint8Array): Promise<Uint8Array>;
}

/** Nonce of a request, in bytes. */
export const NONCE_BYTES = 32;

/** What the driver says of confidential computing on this machine. Guest software says it and nobody signs it. */
export interface ConfidentialComputeState {
  readonly environment: 'unavailable' | 'simulation' | 'production';
  readonly enabled: boolean;
  readonly devTools: boolean;
  readonly multiGpuMode: 'none' | 'protected-pcie' | 'nvlink-encryption';
}

/** The GPUs of one machine with what the driver keeps for all of them together. */
export interface GpuSystem {
  /** Where it leads, for messages. */
  readonly address: string;
  readonly driverVersion: string;
  /** In the driver's order. */
  readonly gpus: readonly ReportingDevice[];
  /** @throws RefusalError `nvml-*` */
  confidentialCompute(): Promise<ConfidentialComputeState>;
  /** The ready state: whether the GPUs take work. @throws RefusalError `nvml-*` */
  acceptsWork(): Promise<boolean>;
  /** @throws RefusalError `nvml-*` */
  setAcceptsWork(accepts: boolean): Promise<void>;
  close(): Promise<void>;
}

/** The NVSwitches of one machine. */
export interface SwitchSystem {
  /** Where it leads, for messages. */
  readonly address: string;
  readonly switches: readonly ReportingDevice[];
  close(): Promise<void>;
}

/** No machine has more; it bounds what a library can make us do (NA-7). */
export const MAX_DEVICES = 16;
