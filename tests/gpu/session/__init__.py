"""The GPU lane: tests and measurements in a few minutes on a machine with a GPU.

    python -m tests.gpu.session first            # tests, then the engines with CUDA graphs
    python -m tests.gpu.session second           # compiled steps, a comparison, 32 streams
    python -m tests.gpu.session all              # every arm, without a time budget
    python -m tests.gpu.session first --tiny     # the lane itself on a CPU, with tiny models

Run it in the root of the checkout. How to prepare a machine without a network, what is written and
how to read it: docs/gpu/README.md.

``results``  the files of a session           ``plan``     the arms, their time-outs, their order
``parent``   one process for each arm         ``arms``     machine, kernels, tests, command line
``clips``    audio, and speaking it           ``engines``  our Voxtral engines
``device``   times and kernels on the GPU     ``generate`` transformers' ``generate()``
``cards``    what a GPU can reach, and goals  ``table``    the results as text
"""
