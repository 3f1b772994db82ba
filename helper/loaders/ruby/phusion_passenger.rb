# frozen_string_literal: true

# What a Ruby application may ask of the server that runs it, under the names that Phusion Passenger gave it. The loader reads this before the
# application, which may `require 'phusion_passenger'` all the same. Only core classes are used here: see "Nothing before Bundler" in ../README.md.
module PhusionPassenger
  # Of the interface, not of the helper.
  VERSION_STRING = '6.0.24'
  PACKAGE_NAME = 'passenger'
  SERVER_TOKEN_NAME = 'Phusion_Passenger'
  LIBDIR = __dir__.freeze

  # What the helper has said about the application: 'app_root', 'app_group_name', 'environment', 'spawn_method' and more, as text.
  module App
    class << self
      attr_accessor :options
    end
  end

  @handlers = {}
  class << self
    # How many requests the process takes at once, if that is not the number of its threads; 0 for no limit.
    attr_accessor :advertised_concurrency_level

    # starting_worker_process (forked), stopping_worker_process, after_installing_signal_handlers, oob_work,
    # starting_request_handler_thread, unhandled_exception_before_exit (exception)
    def on_event(name, &block)
      raise ArgumentError, 'on_event() wants a block' unless block
      (@handlers[name.to_sym] ||= []) << block
    end

    def call_event(name, *args)
      (@handlers[name.to_sym] || []).each { |handler| handler.call(*args) }
    end

    # PhusionPassenger.require_passenger_lib 'rack/out_of_band_gc'
    def require_passenger_lib(name)
      require "#{LIBDIR}/phusion_passenger/#{name}"
    end

    # Nothing has to be installed into frameworks.
    def install_framework_extensions!(*); end

    # What Union Station wanted to know interests nobody any more.
    def benchmark(_env = nil, _title = nil)
      yield
    end

    def log_cache_hit(_env, _name); end

    def log_cache_miss(_env, _name, _generation_time = nil); end
  end
end
