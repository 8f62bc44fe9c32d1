declare module 's3rver' {
  class S3rver {
    constructor(options: {
      address: string;
      port: number;
      directory: string;
      silent: boolean;
      allowMismatchedSignatures: boolean;
    });
    run(): Promise<unknown>;
  }

  // biome-ignore lint/style/noDefaultExport: this is how s3rver exports it
  export { S3rver as default };
}
